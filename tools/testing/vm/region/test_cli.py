# SPDX-License-Identifier: GPL-2.0-only
"""vfio-migrate as its user meets it: results, exit codes, what an error says."""

import json
import os
import subprocess
import time

import pytest

import modules
from edu import BUFFER_SIZE
from guest import Guest

FAILED, USAGE, ENVIRONMENT, REFUSED = 1, 2, 3, 4
SECONDS = 120


@pytest.fixture
def cli(vfio_migrate):
    """Runs a command; returns its result, output decoded where it is JSON."""

    def run(*arguments, status=0, json_output=False):
        result = subprocess.run(
            [vfio_migrate, *map(str, arguments), *(["--json"] if json_output else [])],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert result.returncode == status, result.stdout + result.stderr
        assert "panicked" not in result.stderr
        return json.loads(result.stdout) if json_output else result.stdout + result.stderr

    return run


@pytest.fixture
def saved(cli, bdfs, tmp_path, rng):
    """An image of a device with something in it, and the content of its buffer."""
    content = tmp_path / "content"
    content.write_bytes(rng.randbytes(BUFFER_SIZE))
    image = tmp_path / "edu.img"
    cli("save", bdfs[0], "-o", image, "--write", "factorial=7", "--write", "liveness=0x1234",
        "--buffer-in", content)
    return image, content.read_bytes()


def test_list_names_both_devices_and_the_protocols(cli, bdfs):
    text = json.dumps(cli("list", json_output=True))
    for bdf in bdfs:
        assert bdf in text
    for protocol in ("region-2018", "region-v1", "v2"):
        assert protocol in text


def test_info_shows_the_region(cli, bdfs):
    text = cli("info", bdfs[0])
    assert "266240" in text or "0x41000" in text or "260" in text, text
    assert "region-2018" in text


def test_what_was_saved_is_restored(cli, bdfs, saved, tmp_path):
    image, content = saved
    assert not [name for name in os.listdir(tmp_path) if name not in ("content", "edu.img")]
    out = tmp_path / "out"
    text = cli("restore", bdfs[1], "-i", image, "--read", "factorial", "--read", "liveness",
               "--buffer-out", out)
    assert f"{5040:#x}" in text or "5040" in text, text
    assert f"{0xFFFFFFFF ^ 0x1234:#x}" in text.lower(), text
    assert out.read_bytes() == content


def test_dump_tells_what_an_image_holds(cli, saved):
    image, _ = saved
    text = cli("dump", image)
    for word in ("1234:11e8", "buffer", "factorial", "checksum"):
        assert word in text.lower(), text
    assert cli("dump", image, json_output=True)


def test_a_damaged_image_is_refused_before_and_by_the_driver(cli, bdfs, saved, log):
    log.pace()
    image, _ = saved
    data = bytearray(image.read_bytes())
    data[1000] ^= 4
    image.write_bytes(data)
    assert "checksum" in cli("restore", bdfs[1], "-i", image, status=REFUSED)
    assert not any("refused" in line for line in log.take())
    text = cli("restore", bdfs[1], "-i", image, "--no-check", status=REFUSED)
    assert "dmesg" in text or "kernel log" in text, text
    assert any("image refused" in line for line in log.take())
    with Guest(bdfs[1]) as guest:
        assert guest.edu.factorial(5) == 120


@pytest.fixture
def recv(vfio_migrate, bdfs):
    """Starts a target that listens at port 7000; `recv()` ends it and returns its output."""
    started = []

    def start(*arguments):
        target = subprocess.Popen(
            [vfio_migrate, "recv", bdfs[1], "--listen", "127.0.0.1:7000", "--once", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        started.append(target)
        # It listens once its socket is in the kernel's table: port 7000, state LISTEN.
        while True:
            with open("/proc/net/tcp", encoding="ascii") as table:
                if any(":1B58 " in line and " 0A " in line for line in table):
                    break
            assert target.poll() is None, target.communicate()[0]
            time.sleep(0.05)

        def end():
            output, _ = target.communicate(timeout=SECONDS)
            assert target.returncode == 0, output
            return output

        return end

    yield start
    for target in started:
        target.kill()
        target.communicate()


def test_a_device_moves_over_tcp(cli, recv, bdfs, tmp_path, rng):
    content, out = tmp_path / "content", tmp_path / "out"
    content.write_bytes(rng.randbytes(BUFFER_SIZE))
    end = recv("--read", "factorial", "--buffer-out", out)
    cli("send", bdfs[0], "--to", "127.0.0.1:7000", "--write", "factorial=6",
        "--buffer-in", content)
    assert "factorial = 0x2d0" in end()
    assert out.read_bytes() == content.read_bytes()


def test_a_busy_guest_and_its_memory_move_over_tcp(cli, recv, bdfs):
    def contents(text):
        """What both sides print of registers, buffer and memory."""
        words = [line.split() for line in text.splitlines()]
        return {" ".join(line[:-1]): line[-1] for line in words
                if line[:1] == ["memory"] or line[:2] == ["internal", "buffer"] or "=" in line}

    end = recv()
    source = contents(cli("send", bdfs[0], "--to", "127.0.0.1:7000", "--memory", "4M"))
    target = contents(end())
    assert {"memory", "internal buffer", "factorial ="} <= source.keys()
    assert source == target


def test_nobody_listens(cli, bdfs):
    text = cli("send", bdfs[0], "--to", "127.0.0.1:7001", status=FAILED)
    assert "127.0.0.1:7001" in text
    assert "refused" in text.lower()


def test_a_device_in_use_is_said_to_be(cli, bdfs):
    with Guest(bdfs[0]):
        text = cli("info", bdfs[0], status=ENVIRONMENT)
    assert "in use" in text or "busy" in text, text


@pytest.mark.physical
def test_a_device_that_is_not_bound_is_named_with_the_remedy(cli, bdfs):
    modules.unbind(bdfs[0])
    text = cli("info", bdfs[0], status=ENVIRONMENT)
    assert bdfs[0] in text
    assert "bind" in text


def test_what_is_no_device_and_what_is_no_command(cli):
    assert "0000:00:1f.7" in cli("info", "0000:00:1f.7", status=ENVIRONMENT)
    cli("info", "not a device", status=USAGE)
    cli("fly", status=USAGE)


def test_an_image_that_is_not_there(cli, bdfs, tmp_path):
    text = cli("restore", bdfs[0], "-i", tmp_path / "none", status=FAILED)
    assert "none" in text
