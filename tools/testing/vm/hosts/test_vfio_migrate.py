# SPDX-License-Identifier: GPL-2.0-only
"""'vfio-migrate send' on one host, 'recv' on the other."""

import hashlib
import re
import time

import pytest

from devices.edu import BUFFER_SIZE
from lib.proxy import Proxy
from lib.qemu.host import PATIENCE
from lib.qemu.steps import DAMAGES

pytestmark = pytest.mark.edu

FAILED, REFUSED = 1, 4


def wait_output(process, pattern):
    """Waits until a program's output matches; returns the match."""
    end = time.monotonic() + PATIENCE
    while not (match := re.search(pattern, process.output())):
        assert process.poll() is None and time.monotonic() < end, process.output()
        time.sleep(0.05)
    return match


def ended(process, status=0):
    """Waits for a program's end; returns what it wrote."""
    assert process.wait() == status, process.output()
    return process.output()


@pytest.fixture
def recv(run, vfio_migrate, bdfs, hosts):
    """Starts a target on a host, for its first device; returns the process and where it listens."""

    def start(host, *options):
        process = run(
            host, vfio_migrate, "recv", bdfs[0], "--listen", f"{hosts[host].address}:0", "--once",
            *options,
        )
        port = wait_output(process, r"listening at \S+:(\d+)\n")[1]
        return process, (hosts[host].address, int(port))

    return start


@pytest.fixture
def send(run, vfio_migrate, bdfs):
    """Starts a source on a host, with its first device; returns the process."""

    def start(host, address, *options):
        return run(
            host, vfio_migrate, "send", bdfs[0], "--to", "{}:{}".format(*address), *options
        )

    return start


@pytest.fixture
def moves(recv, send, run, rng):
    """Moves a device in use and compares its state."""
    content = rng.randbytes(BUFFER_SIZE)

    def move(here, there, directory):
        filled, found = directory / "filled", directory / "found"
        # Each host has its own directory of this name.
        for host in (here, there):
            ended(run(host, "mkdir", "-p", directory))
        ended(run(here, "python3", "-c", f"open('{filled}', 'wb').write({content!r})"))
        target, address = recv(
            there, "--irq", "msi", "--read", "factorial", "--read", "irq-status",
            "--buffer-out", found,
        )
        source = send(
            here, address, "--write", "factorial=6", "--write", "irq-raise=0x40",
            "--buffer-in", filled,
        )
        assert "the target runs" in ended(source)
        output = ended(target)
        assert "factorial = 0x2d0\n" in output
        assert "irq-status = 0x40\n" in output
        assert "interrupt delivered\n" in output
        digest = ended(run(there, "sha256sum", found)).split()[0]
        assert digest == hashlib.sha256(content).hexdigest()

    return move


def test_there_and_back(moves, tmp_path):
    moves("source", "target", tmp_path)
    moves("target", "source", tmp_path)


def contents(text):
    """Returns what both sides print of registers, buffer and memory."""
    words = [line.split() for line in text.splitlines()]
    return {
        " ".join(line[:-1]): line[-1]
        for line in words
        if line[:1] == ["memory"] or line[:2] == ["internal", "buffer"] or "=" in line
    }


def test_a_busy_guest_and_its_memory_move(recv, send, way):
    here, there = way
    target, address = recv(there)
    source = contents(ended(send(here, address, "--memory", "4M")))
    assert {"memory", "internal buffer", "factorial ="} <= source.keys()
    assert source == contents(ended(target))


def test_target_killed(recv, send, moves, tmp_path):
    target, address = recv("target")
    source = send("source", address, "--memory", "4M", "--rounds", "1000")
    wait_output(source, r"round 2: ")
    target.kill()
    output = ended(source, FAILED)
    assert "sending" in output or "receiving" in output, output
    moves("source", "target", tmp_path)


def test_source_killed(recv, send, moves, tmp_path):
    target, address = recv("target")
    source = send("source", address, "--memory", "4M", "--rounds", "1000")
    wait_output(source, r"round 2: ")
    source.kill()
    ended(target, FAILED)
    moves("source", "target", tmp_path)


def test_the_target_refuses(recv, send, moves, tmp_path):
    for damage in ("device", "version"):
        target, address = recv("target")
        with Proxy(address, *DAMAGES[damage]) as proxy:
            ended(send("source", proxy.address), REFUSED)
            ended(target, REFUSED)
            assert proxy.hit
    moves("source", "target", tmp_path)
