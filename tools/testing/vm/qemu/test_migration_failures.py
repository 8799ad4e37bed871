# SPDX-License-Identifier: GPL-2.0-only
"""Migrations that do not come to their end: the guest goes on where it was."""

import struct

import pytest

from edu import BUFFER_SIZE
from image import CRC, HEAD, HEADER, MAGIC, MANDATORY, REGISTERS, crc32c
from machine import migrate
from proxy import Proxy
from qemu.qmp import ExecuteError

DEVICE_ID, MAJOR = 18, 8
REGISTERS_SECTION = struct.pack("<HHIQ", REGISTERS, MANDATORY, 1, 0)


def flip(data):
    """Changes the last byte."""
    return data[:-1] + bytes([data[-1] ^ 0x10])


def header_with(offset):
    """Returns a change of a field of the image's header that its checksum does not show."""

    def change(header):
        data = bytearray(header[:-CRC])
        data[offset] += 1
        return bytes(data) + struct.pack("<I", crc32c(data))

    return change


# Where the bytes are that change, how many they are, and how they change.
DAMAGES = {
    "device": (MAGIC, HEADER, header_with(DEVICE_ID)),
    "version": (MAGIC, HEADER, header_with(MAJOR)),
    "buffer": (MAGIC, HEADER + HEAD + CRC + 1000, flip),
    "registers": (REGISTERS_SECTION, HEAD + CRC + 30, flip),
    "cut": (REGISTERS_SECTION, HEAD + CRC, lambda data: b""),
}


def check_runs(machine, content):
    """The guest runs, and its device is what it was."""
    machine.wait_status()
    assert machine.edu.factorial(6) == 720
    assert machine.edu.buffer() == content


@pytest.fixture
def content(source, rng):
    """What the source's device has in its buffer."""
    content = rng.randbytes(BUFFER_SIZE)
    source.edu.fill(content)
    return content


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_target_refuses(start, source, target, content, damage):
    with Proxy(target.listen(), *DAMAGES[damage]) as proxy:
        source.migrate_to(proxy.port)
        assert target.wait_exit() not in (0, None)
        source.wait_end("failed")
        assert proxy.hit
    check_runs(source, content)

    another = start(1, incoming=True)
    migrate(source, another)
    check_runs(another, content)


def test_cancel_and_retry(start, source, target, content):
    source.hold()
    source.migrate_to(target.listen())
    source.wait_sent()
    source.cmd("migrate_cancel")
    source.wait_end("cancelled")
    check_runs(source, content)
    assert target.wait_exit() != 0

    another = start(1, incoming=True)
    source.release()
    migrate(source, another)
    check_runs(another, content)


def test_target_killed(start, source, target, content):
    source.hold()
    source.migrate_to(target.listen())
    source.wait_sent()
    target.kill()
    source.wait_end("failed")
    check_runs(source, content)

    another = start(1, incoming=True)
    source.release()
    migrate(source, another)
    check_runs(another, content)


def test_source_killed(start, source, target, content):
    source.hold()
    source.migrate_to(target.listen())
    source.wait_sent()
    source.kill()
    assert target.wait_exit() != 0

    # Both devices are there for others, and nothing is left of the guest.
    for device in (0, 1):
        fresh = start(device)
        fresh.enable()
        check_runs(fresh, bytes(BUFFER_SIZE))


def test_no_unplug_while_migrating(source, target, content):
    source.hold()
    source.migrate_to(target.listen())
    source.wait_sent()
    with pytest.raises(ExecuteError, match="migrat"):
        source.cmd("device_del", id="edu0")
    source.release()
    source.wait_end()
    check_runs(target, content)
