# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a virtual device answer like those of a physical one."""

import struct

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib.errnos import error_of, refused
from lib.patience import wait_until
from lib.vfio import BAR0_REGION, COMMAND_MASTER

OFFSETS = (*range(0, 0x28, 4), 0x60, 0x64, *range(0x78, 0xA8, 4), 0x1000, BUFFER, BUFFER + 8)


def read(guest, offset, size):
    return guest.device.read(BAR0_REGION, offset, size).hex()


def write(guest, offset, value, size):
    return error_of(guest.device.write, BAR0_REGION, offset, value.to_bytes(8, "little")[:size])


def everything(guest):
    return [read(guest, offset, size) for offset in OFFSETS for size in (1, 2, 4, 8)
            if offset % size == 0]


def test_a_fresh_device(guest, passed_through):
    assert everything(guest) == everything(passed_through)


def test_random_accesses(guest, passed_through, rng):
    """Both get the same writes of all widths, except commands; then all registers are read."""
    pair = guest, passed_through
    for _ in range(400):
        offset = rng.choice([at for at in OFFSETS if at not in (edu.FACTORIAL, edu.DMA_COMMAND)])
        size = rng.choice([size for size in (1, 2, 4, 8) if offset % size == 0])
        value = rng.getrandbits(8 * size)
        results = [write(one, offset, value, size) for one in pair]
        assert results[0] == results[1], hex(offset)
        assert read(guest, offset, size) == read(passed_through, offset, size), hex(offset)
    assert everything(guest) == everything(passed_through)


def test_factorials(guest, passed_through, rng):
    for operand in (0, 1, 2, 5, 12, 13, 20, 33, 34, 35, 1000, rng.randrange(40)):
        answers = [one.edu.factorial(operand) for one in (guest, passed_through)]
        assert answers[0] == answers[1], operand


def test_a_factorial_that_would_take_for_ever(guest):
    """The result is known, so nobody waits for the seconds that computing takes."""
    guest.edu.write32(edu.FACTORIAL, 0xFFFFFFFF)
    wait_until(lambda: not guest.edu.read32(edu.STATUS) & edu.COMPUTING, 2)
    assert guest.edu.read32(edu.FACTORIAL) == 0


def test_random_transfers(guest, passed_through, rng):
    """Both make the same transfers; then memory, buffer and registers are the same."""
    pair = guest, passed_through
    content = rng.randbytes(64 << 10)
    for one in pair:
        one.memory.bytes[: len(content)] = content
    for _ in range(12):
        count = rng.choice((1, 3, 100, 4095, BUFFER_SIZE))
        at = rng.randint(0, BUFFER_SIZE - count)
        iova = guest.IOVA + rng.randrange(len(content) - count)
        command = rng.choice((0, edu.DMA_INTERRUPT))
        out = rng.getrandbits(1)
        for one in pair:
            (one.edu.to_memory if out else one.edu.to_device)(iova, count, at, command=command)
        assert guest.state() == passed_through.state()
    assert guest.memory.bytes[: len(content)] == passed_through.memory.bytes[: len(content)]
    assert guest.buffer() == passed_through.buffer()


@pytest.mark.parametrize(
    "source,destination,count",
    [
        (0x100000, BUFFER, 0),
        (0x100000, BUFFER, BUFFER_SIZE + 1),
        (0x100000, BUFFER + 1, BUFFER_SIZE),
        (0x100000, BUFFER - 1, 1),
        (0x100000, BUFFER + BUFFER_SIZE, 1),
        (1 << 28, BUFFER, 1),
        ((1 << 28) - 1, BUFFER, 2),
        (2**64 - 1, BUFFER, 1),
        (0x100000, 2**64 - 1, 4096),
        (0x100000, BUFFER, 2**64 - 1),
    ],
)
def test_commands_that_are_refused(guest, passed_through, source, destination, count):
    for one in (guest, passed_through):
        with refused():
            one.edu.start(source, destination, count, 0)
        with refused():
            one.edu.start(destination, source, count, edu.TO_MEMORY)
        one.edu.write64(edu.DMA_SOURCE, 0)
    assert everything(guest) == everything(passed_through)
    assert guest.edu.factorial(4) == 24


def test_memory_that_is_not_there_is_not_moved(guest, rng):
    content = rng.randbytes(BUFFER_SIZE)
    guest.fill(content)
    guest.edu.to_device(0x8000000)
    guest.edu.to_memory(0x8000000)
    assert guest.buffer() == content


def test_without_bus_mastering_nothing_is_moved(guest, rng):
    content = rng.randbytes(BUFFER_SIZE)
    guest.fill(content)
    guest.device.enable(0, clear=COMMAND_MASTER)
    guest.memory.bytes[:BUFFER_SIZE] = bytes(BUFFER_SIZE)
    guest.edu.to_memory(guest.IOVA)
    guest.edu.to_device(guest.IOVA)
    assert guest.memory.bytes[:BUFFER_SIZE] == bytes(BUFFER_SIZE)
    guest.device.enable(COMMAND_MASTER)
    assert guest.buffer() == content


def test_what_is_ignored_while_a_transfer_runs(guest):
    guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
    state = guest.state()
    for register in (edu.DMA_SOURCE, edu.DMA_DESTINATION, edu.DMA_COUNT, edu.DMA_COMMAND):
        guest.edu.write64(register, 0x1234567)
    assert guest.state() == state
    guest.edu.wait_transfer()
    assert struct.unpack("<Q", guest.device.read(BAR0_REGION, edu.DMA_COUNT, 8)) == (64,)
