# SPDX-License-Identifier: GPL-2.0-only
"""The command line of vfio-migrate: results, exit codes, error messages."""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from devices.edu import BUFFER_SIZE
from lib import modules
from lib.guest import Guest

pytestmark = pytest.mark.edu

FAILED, USAGE, ENVIRONMENT, REFUSED = 1, 2, 3, 4
SECONDS = 120


@pytest.fixture
def cli(vfio_migrate):
    """Runs a command; returns its result, with the output decoded if it is JSON."""

    def run(*arguments, status=0, json_output=False, **options):
        result = subprocess.run(
            [vfio_migrate, *map(str, arguments), *(["--json"] if json_output else [])],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            **options,
        )
        assert result.returncode == status, result.stdout + result.stderr
        assert "panicked" not in result.stderr
        return json.loads(result.stdout) if json_output else result.stdout + result.stderr

    return run


@pytest.fixture
def saved(cli, bdfs, tmp_path, rng):
    """The image of a device that is not fresh, and the content of its buffer."""
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


def test_an_image_goes_through_a_pipe(vfio_migrate, bdfs):
    for name in ("-", "/dev/stdout"):
        save = subprocess.Popen(
            [vfio_migrate, "save", bdfs[0], "-o", name, "--write", "factorial=7"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        restore = subprocess.run(
            [vfio_migrate, "restore", bdfs[1], "-i", "-", "--read", "factorial",
             "--buffer-out", "-"],
            stdin=save.stdout, capture_output=True, timeout=SECONDS, check=False,
        )
        report = save.communicate(timeout=SECONDS)[1].decode()
        assert save.returncode == 0 and " saved to " in report, report
        report = restore.stderr.decode()
        assert restore.returncode == 0, report
        assert restore.stdout == bytes(BUFFER_SIZE)
        assert "factorial = 0x13b0" in report and "from standard input" in report, report


def test_an_image_that_is_damaged_in_a_pipe_is_refused(vfio_migrate, bdfs, saved, log):
    image, _ = saved
    data = bytearray(image.read_bytes())
    data[-60] ^= 4
    restore = subprocess.run(
        [vfio_migrate, "restore", bdfs[1], "-i", "-", "--chunk", "100"], input=bytes(data),
        capture_output=True, timeout=SECONDS, check=False,
    )
    errors = restore.stderr.decode()
    assert restore.returncode == REFUSED and "checksum" in errors, errors
    # The driver was not given the damaged part, and its device is a fresh one.
    assert not any("refused" in line for line in log.take())
    with Guest(bdfs[1]) as guest:
        assert guest.edu.factorial(5) == 120


def test_only_a_regular_file_is_replaced(cli, bdfs, tmp_path):
    device, fifo = tmp_path / "null", tmp_path / "fifo"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(device, 0o666)
    cli("save", bdfs[0], "-o", device)
    found = device.lstat()
    assert stat.S_ISCHR(found.st_mode) and found.st_mode & 0o777 == 0o666

    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    cli("save", bdfs[0], "-o", fifo, "--write", "factorial=7")
    reader.join()
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert read[0].startswith(b"RVFIOIMG")

    image, link = tmp_path / "edu.img", tmp_path / "link"
    image.write_text("before")
    image.chmod(0o640)
    os.chown(image, 1234, 4321)
    link.symlink_to("edu.img")
    cli("save", bdfs[0], "-o", link, "--write", "factorial=7")
    assert link.is_symlink() and image.read_bytes() == read[0]
    found = image.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o640, 1234, 4321)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_middle_of_a_save_leaves_no_file(vfio_migrate, bdfs, tmp_path, end):
    save = subprocess.Popen(
        [vfio_migrate, "save", bdfs[0], "-o", tmp_path / "edu.img", "--chunk", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    files = pathlib.Path(f"/proc/{save.pid}/fd")
    while True:
        assert save.poll() is None, save.communicate()
        found = {}
        for file in files.iterdir():
            # The program may close the file meanwhile.
            try:
                found[os.readlink(file)] = file.stat().st_size
            except OSError:
                pass
        sizes = [size for name, size in found.items() if name.startswith(str(tmp_path))]
        if sizes and sizes[0]:
            break
    save.send_signal(signal.SIGSTOP)
    assert not list(tmp_path.iterdir())
    save.send_signal(end)
    save.send_signal(signal.SIGCONT)
    output = save.communicate(timeout=SECONDS)
    assert save.returncode == -end, output
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_and_says_what_to_do(cli, bdfs, tmp_path):
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", directory], check=True)
    try:
        text = cli("save", bdfs[0], "-o", directory / "edu.img", status=FAILED)
        assert "No space left" in text and "make room" in text, text
        assert not list(directory.iterdir())
    finally:
        subprocess.run(["umount", directory], check=True)
    text = cli("save", bdfs[0], "-o", tmp_path / "none/edu.img", status=FAILED)
    assert f"mkdir -p {tmp_path}/none" in text, text


@pytest.fixture
def group(bdfs):
    """The file of the first device's group; it belongs to root again after the test."""
    (link,) = pathlib.Path("/sys/bus").glob(f"*/devices/{bdfs[0]}/iommu_group")
    path = f"/dev/vfio/{os.path.basename(os.readlink(link))}"
    owner = os.stat(path)
    yield path
    os.chown(path, owner.st_uid, owner.st_gid)


@pytest.mark.container
def test_a_plain_user_is_told_how_to_get_a_device(cli, bdfs, group):
    text = cli("info", bdfs[0], status=ENVIRONMENT, user="nobody")
    assert f"chown USER {group}" in text and "udev" in text, text
    shutil.chown(group, "nobody")
    assert "region-2018" in cli("info", bdfs[0], user="nobody")


# A virtual device copies memory, and locks none for that.
@pytest.mark.physical
@pytest.mark.container
def test_a_plain_user_is_told_of_locked_memory(cli, bdfs, group):
    shutil.chown(group, "nobody")
    text = cli(
        "send", bdfs[0], "--to", "127.0.0.1:7001", "--memory", "1M", status=ENVIRONMENT,
        user="nobody",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536)),
    )
    assert "ulimit -l" in text and "64 KiB" in text and "1024 KiB" in text, text


@pytest.fixture
def recv(vfio_migrate, bdfs):
    """Starts a target on port 7000; what that returns waits for its end and returns its output."""
    started = []

    def start(*arguments):
        target = subprocess.Popen(
            [vfio_migrate, "recv", bdfs[1], "--listen", "127.0.0.1:7000", "--once", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        started.append(target)
        # The target listens once the kernel's table has its socket: port 7000, state LISTEN.
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


def test_a_stray_connection_ends_no_target_and_holds_none(cli, recv, bdfs):
    end = recv("--read", "factorial")
    with socket.create_connection(("127.0.0.1", 7000)):
        with socket.create_connection(("127.0.0.1", 7000)) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
        # The other connection stays silent.
        cli("send", bdfs[0], "--to", "127.0.0.1:7000", "--write", "factorial=6")
        output = end()
    assert "no source of a migration" in output
    assert "factorial = 0x2d0" in output


def test_a_source_says_that_it_waits(vfio_migrate, bdfs):
    with socket.create_server(("127.0.0.1", 7002)):
        source = subprocess.Popen(
            [vfio_migrate, "send", bdfs[0], "--to", "127.0.0.1:7002"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        assert "127.0.0.1:7002" in source.stderr.readline()
        assert "waiting" in source.stderr.readline()
    # The target's end closes the connection.
    source.communicate(timeout=SECONDS)
    assert source.returncode == FAILED


def test_a_busy_guest_and_its_memory_move_over_tcp(cli, recv, bdfs):
    def contents(text):
        """Returns what both sides print of registers, buffer and memory."""
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


@pytest.mark.physical
def test_only_a_device_that_has_a_driver_is_to_be_bound(cli):
    devices = pathlib.Path("/sys/bus/pci/devices")
    # Bridges: class 6.
    bridges = [path for path in devices.iterdir() if (path / "class").read_text()[:4] == "0x06"]
    assert bridges
    for bridge in bridges:
        text = cli("info", bridge.name, status=ENVIRONMENT)
        assert "not bound" in text and "scripts/bind" not in text, text


def test_what_is_no_device_and_what_is_no_command(cli):
    assert "0000:00:1f.7" in cli("info", "0000:00:1f.7", status=ENVIRONMENT)
    cli("info", "not a device", status=USAGE)
    cli("fly", status=USAGE)


def test_an_image_that_is_not_there(cli, bdfs, tmp_path):
    text = cli("restore", bdfs[0], "-i", tmp_path / "none", status=FAILED)
    assert "none" in text
