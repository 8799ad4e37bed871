# SPDX-License-Identifier: GPL-2.0-only
"""DMA commands that must not reach the hardware."""

import errno

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import modules, vfio
from lib.errnos import refused
from lib.guest import Guest
from lib.kernel_log import BURST
from lib.protocols import region_2018
from lib.vfio import TYPE1_IOMMU, Container

pytestmark = pytest.mark.edu

END = BUFFER + BUFFER_SIZE
TOP = 1 << 64
RAM = Guest.IOVA
MASK = 1 << 28

# Address in the device, address in memory, count.
WRONG = [
    (BUFFER - 1, RAM, 1),
    (BUFFER - 1, RAM, 2),
    (BUFFER - 4096, RAM, 4096),
    (0, RAM, 4),
    (END, RAM, 1),
    (END - 1, RAM, 2),
    (BUFFER + 1, RAM, 4096),
    (END + 4096, RAM, 16),
    (RAM, RAM, 16),
    (TOP - 1, RAM, 1),
    (TOP - 1, RAM, BUFFER + 2),
    (TOP - 4096, RAM, TOP - 1),
    (BUFFER, RAM, 0),
    (END, RAM, 0),
    (BUFFER, RAM, 4097),
    (BUFFER, RAM, 1 << 32),
    (BUFFER, RAM, (1 << 32) + 16),
    (BUFFER, RAM, TOP - 1),
    (BUFFER, RAM, TOP - BUFFER),
    (BUFFER, RAM, TOP - BUFFER + 16),
    (BUFFER, TOP - 1, 2),
    (BUFFER, TOP - 4096, 4096),
    (BUFFER, MASK, 1),
    (BUFFER, MASK - 1, 2),
    (BUFFER, MASK | RAM, 16),
    (BUFFER, (1 << 32) | RAM, 16),
]


def give(guest, inside, memory, count, command):
    pair = (inside, memory) if command & edu.TO_MEMORY else (memory, inside)
    guest.edu.start(*pair, count, command)


@pytest.mark.parametrize("command", [0, edu.TO_MEMORY, edu.DMA_INTERRUPT, 0xFFFF_FF00 | 6])
def test_wrong_commands(guest, rng, command):
    content = bytes(rng.randint(1, 255) for _ in range(BUFFER_SIZE))
    guest.fill(content)
    before = guest.memory.bytes[:]
    read_back = guest.edu.read64(edu.DMA_COMMAND)
    region = guest.region
    region.state = region_2018.SETUP
    with vfio.EventFd() as event:
        guest.device.set_irq(vfio.MSI, event.fd)
        for inside, memory, count in WRONG:
            with refused():
                give(guest, inside, memory, count, command)
            assert guest.edu.read64(edu.DMA_COMMAND) == read_back
        assert event.take() == 0
        guest.device.clear_irq(vfio.MSI)
    assert guest.edu.read32(edu.INTERRUPT_STATUS) == 0
    assert guest.memory.bytes[:] == before
    assert region.dirty(0, 1 << 40) == set()
    assert guest.buffer() == content


@pytest.mark.parametrize("width", [4, 8])
def test_commands_at_the_very_edge_are_taken(guest, width):
    guest.device.map(guest.memory, MASK - guest.memory.size)
    write = guest.edu.write32 if width == 4 else guest.edu.write64
    last = guest.memory.size - 1
    guest.fill(b"\x77", at=BUFFER_SIZE - 1)
    for register, value in (
        (edu.DMA_SOURCE, END - 1),
        (edu.DMA_DESTINATION, MASK - 1),
        (edu.DMA_COUNT, 1),
        (edu.DMA_COMMAND, edu.RUN | edu.TO_MEMORY),
    ):
        write(register, value)
    guest.edu.wait_transfer()
    assert guest.memory.bytes[last] == 0x77


def test_a_refused_command_is_refused_however_it_is_written(guest):
    """One call may write the registers before it as well, or 32 bits of the command alone."""
    guest.edu.write64(edu.DMA_SOURCE, END)
    guest.edu.write64(edu.DMA_DESTINATION, RAM)
    with refused():
        guest.edu.write32(edu.DMA_COMMAND, edu.RUN | edu.TO_MEMORY)
    data = (64).to_bytes(8, "little") + (edu.RUN | edu.TO_MEMORY).to_bytes(8, "little")
    # The driver takes the count and refuses the command.
    assert guest.device.write(vfio.BAR0_REGION, edu.DMA_COUNT, data) == 8
    assert guest.edu.read64(edu.DMA_COUNT) == 64
    assert guest.edu.read64(edu.DMA_COMMAND) == 0
    # Accesses that the device ignores start nothing.
    for offset, size in ((edu.DMA_COMMAND, 1), (edu.DMA_COMMAND, 2), (edu.DMA_COMMAND + 4, 4)):
        data = (edu.RUN | edu.TO_MEMORY).to_bytes(size, "little")
        assert guest.device.write(vfio.BAR0_REGION, offset, data) == size
    assert guest.edu.read64(edu.DMA_COMMAND) == 0


def test_a_device_does_not_crowd_out_the_messages_about_another(pair, log):
    noisy, quiet = pair
    log.refill()
    for _ in range(4 * BURST):
        with refused():
            give(noisy, END, RAM, 8, edu.TO_MEMORY)
    with refused():
        give(quiet, END, RAM, 8, edu.TO_MEMORY)
    messages = [line for line in log.take() if "refused DMA command" in line]
    assert sum(noisy.device.bdf in line for line in messages) >= BURST
    assert sum(quiet.device.bdf in line for line in messages) == 1
    # The next message says how many were left out.
    log.refill()
    with refused():
        give(noisy, END, RAM, 8, edu.TO_MEMORY)
    (left_out,) = [line for line in log.take() if "messages were left out" in line]
    assert noisy.device.bdf in left_out
    assert int(left_out.split(":")[-1].split()[0]) >= 4 * BURST - 2 * BURST


def test_messages_are_rate_limited_and_say_what_was_refused(guest, log):
    log.refill()
    for _ in range(4 * BURST):
        with refused():
            give(guest, END, RAM, 8, edu.TO_MEMORY)
    messages = [line for line in log.take() if "refused DMA command" in line]
    assert 0 < len(messages) <= 2 * BURST
    assert guest.device.bdf in messages[0]
    for part in ("0x41000", "0x100000", "8 bytes"):
        assert part in messages[0]


@pytest.fixture
def wide(bdfs):
    """The modules with an address mask of 64 bits, which the second device has."""
    modules.reload(bdfs, dma_mask_bits=64)
    yield bdfs[1]
    modules.reload(bdfs)


def test_high_addresses_of_a_wide_device(wide):
    with Guest(wide) as guest:
        high = 1 << 36
        guest.device.map(guest.memory, high)
        guest.fill(b"\x33" * 32)
        guest.region.state = region_2018.SETUP
        guest.edu.to_memory(high + 0x4FF0, 32)
        assert guest.memory.bytes[0x4FF0:0x5010] == b"\x33" * 32
        assert guest.region.dirty(high, 256) == {high + 0x4000, high + 0x5000}
        assert guest.region.dirty(0, 1 << 52) == set()
        for inside, memory, count in WRONG[:20]:
            with refused():
                give(guest, inside, memory, count, edu.TO_MEMORY)
        with refused(errno.EINVAL):
            give(guest, BUFFER, TOP - 8, 9, edu.TO_MEMORY)


@pytest.mark.physical
def test_a_narrower_mask(bdfs):
    modules.reload(bdfs, dma_mask_bits=20)
    try:
        with Guest(bdfs[0]) as guest:
            guest.device.map(guest.memory, 0)
            guest.edu.to_memory((1 << 20) - 64, 64)
            with refused():
                give(guest, BUFFER, (1 << 20) - 64, 65, edu.TO_MEMORY)
    finally:
        modules.reload(bdfs)


@pytest.mark.container
@pytest.mark.physical
def test_a_container_of_the_first_kind(bdfs, rng):
    """VFIO_TYPE1_IOMMU pins nothing and reports no dirty pages; transfers work all the same."""
    with Guest(bdfs[0], space=Container(TYPE1_IOMMU)) as guest:
        content = rng.randbytes(BUFFER_SIZE)
        guest.fill(content)
        assert guest.buffer() == content
