# SPDX-License-Identifier: GPL-2.0-only
"""BARs of which some pages are trapped: what is announced, reads and writes.

A trapped read returns the complement of what the device has there.
"""

import errno
import os
import struct

import pytest

from lib import vfio
from lib.errnos import error_of, refused
from lib.libc import Pages, call, libc
from lib.protocols import v2

pytestmark = pytest.mark.physical

PAGE = 4096
MEMORY = 2

# The trapped bytes of BAR 2, and those of them from which on reads need no decoding.
TRAPPED, THROUGH = range(0x1FF000, 0x201000), 0x200800

# What the driver refuses to write.
REFUSED = struct.pack("Q", 0xDEAD_DEAD_DEAD_DEAD)

# NVMe's registers: capabilities, the version, and the sizes of the admin queues, which keep what
# is written.
CAP, VS, AQA = 0x00, 0x08, 0x24
MSIX_TABLE, MSIX_ENTRY = 0x2000, 16
READ_WRITE = vfio.REGION_READ | vfio.REGION_WRITE


def complement(data):
    return bytes(255 - byte for byte in data)


def seen(content, start, end):
    """Returns what a read of BAR 2 from `start` to `end` returns, if `content` is there."""
    data = bytearray(content[start:end])
    first, last = max(start, TRAPPED.start), min(end, TRAPPED.stop)
    if first < last and first < THROUGH:
        data[first - start : last - start] = complement(data[first - start : last - start])
    return bytes(data)


def test_what_can_be_mapped_is_announced(ivshmem):
    region = ivshmem.regions[MEMORY]
    assert region.size == 8 << 20
    assert region.flags == READ_WRITE | vfio.REGION_MMAP | vfio.REGION_CAPS
    assert region.areas == [(0, 0x1FF000), (0x201000, (8 << 20) - 0x201000)]
    assert region.capabilities == {vfio.CAP_SPARSE_MMAP}


def test_a_bar_smaller_than_a_page(ivshmem):
    region = ivshmem.regions[0]
    assert (region.size, region.flags, region.areas) == (256, READ_WRITE, [])
    # Interrupt mask, which keeps what is written.
    ivshmem.write(0, 0, struct.pack("I", 0x12345678))
    assert ivshmem.read(0, 0, 4) == struct.pack("I", 0x12345678 ^ 0xFFFFFFFF)
    assert len(ivshmem.read(0, 252, 100)) == 4
    with refused():
        ivshmem.read(0, 256, 4)


def test_a_bar_in_which_nothing_is_trapped_stays_as_it_was(ivshmem):
    for index in (1, 3, 4, 5):
        region = ivshmem.regions[index]
        assert (region.size, region.flags, region.capabilities) == (0, 0, set())
        with refused():
            ivshmem.read(index, 0, 4)


def test_the_first_pages_of_edu(ranged_edu):
    region = ranged_edu.regions[0]
    assert region.areas == [(0x1000, 0x1000), (0x3000, 0x100000 - 0x3000)]
    assert ranged_edu.read(0, 0, 4) == struct.pack("I", 0x010000ED ^ 0xFFFFFFFF)
    # Liveness, which reads as the complement of what was written.
    ranged_edu.write(0, 4, struct.pack("I", 0x1234))
    assert ranged_edu.read(0, 4, 4) == struct.pack("I", 0x1234)


def test_calls_are_split_at_the_borders(ivshmem, rng):
    start, end = TRAPPED.start - 3 * PAGE, TRAPPED.stop + 3 * PAGE
    content = bytearray(8 << 20)
    content[start:end] = rng.randbytes(end - start)
    # In one call, across all borders.
    assert ivshmem.write(MEMORY, start, bytes(content[start:end])) == end - start
    assert ivshmem.read(MEMORY, start, end - start) == seen(content, start, end)
    for _ in range(60):
        at = rng.choice((TRAPPED.start, THROUGH, TRAPPED.stop, rng.randrange(start, end)))
        first = max(start, at - rng.choice((0, 1, 2, 4, 7, 8, 100)))
        last = min(end, at + rng.choice((1, 2, 3, 4, 8, 9, 64, 3000)))
        if rng.getrandbits(1):
            content[first:last] = data = rng.randbytes(last - first)
            assert ivshmem.write(MEMORY, first, data) == len(data)
        assert ivshmem.read(MEMORY, first, last - first) == seen(content, first, last)
    assert ivshmem.read(MEMORY, start, end - start) == seen(content, start, end)


def test_a_refused_write_ends_the_call(ivshmem):
    fill = bytes(range(8))
    border = TRAPPED.start
    for before in (8, 4, 1):
        at = border - before
        assert ivshmem.write(MEMORY, at, fill[:before] + REFUSED) == before
        assert ivshmem.read(MEMORY, at, before) == fill[:before]
    with refused(errno.EPERM):
        ivshmem.write(MEMORY, border, REFUSED + fill)
    assert ivshmem.write(MEMORY, border - 8, 2 * fill + REFUSED + fill) == 16
    # What comes after a trapped page is not written either.
    border = TRAPPED.stop
    ivshmem.write(MEMORY, border, bytes(8))
    assert ivshmem.write(MEMORY, border - 16, fill + REFUSED + fill) == 8
    assert ivshmem.read(MEMORY, border, 8) == bytes(8)


def test_memory_that_ends_within_a_call(ivshmem):
    device, at = ivshmem, ivshmem.regions[MEMORY].offset
    for border, good in ((TRAPPED.start, 64), (TRAPPED.stop, 64)):
        with Pages(good) as pages:
            # The bad memory begins with the next piece.
            buffer = pages.before_bad(good)
            for function in (libc.pwrite, libc.pread):
                assert call(function, device.fd, buffer, 2 * good, at + border - good) == good
            # No piece is moved as a whole.
            buffer = pages.before_bad(0)
            for function in (libc.pwrite, libc.pread):
                with refused(errno.EFAULT):
                    call(function, device.fd, buffer, 2 * good, at + border - good)


def test_calls_stop_at_the_end_of_the_bar(ivshmem, nvme):
    for device, index in ((ivshmem, MEMORY), (nvme, 0)):
        size = device.regions[index].size
        assert len(device.read(index, size - 8, 100)) == 8
        assert device.write(index, size - 8, bytes(100)) == 8
        for offset in (size, size + PAGE, 1 << 39):
            with refused():
                device.read(index, offset, 8)
            with refused():
                device.write(index, offset, bytes(8))
        # Trapped by the table, but beyond the BAR.
    with refused():
        ivshmem.read(MEMORY, 0x4000_0000, 8)
    with refused():
        ivshmem.write(MEMORY, 0x4000_0000, bytes(8))
    assert os.pread(ivshmem.fd, 0, ivshmem.regions[MEMORY].offset + TRAPPED.start) == b""


def test_memory_decoding_is_off(ivshmem):
    ivshmem.write(MEMORY, TRAPPED.start - 8, bytes(8))
    ivshmem.enable(0, clear=vfio.COMMAND_MEMORY)
    for at in (TRAPPED.start - 8, TRAPPED.start, TRAPPED.stop):
        with refused(errno.EIO):
            ivshmem.read(MEMORY, at, 16)
        with refused(errno.EIO):
            ivshmem.write(MEMORY, at, b"\xaa" * 16)
    ivshmem.enable(vfio.COMMAND_MEMORY)
    assert ivshmem.read(MEMORY, TRAPPED.start - 8, 8) == bytes(8)


def test_registers_beside_an_interrupt_table(nvme):
    region = nvme.regions[0]
    assert region.size == 0x4000
    assert region.areas == [(0x1000, 0x1000), (0x3000, 0x1000)]
    # vfio-pci's own capability stays.
    assert region.capabilities == {vfio.CAP_MSIX_MAPPABLE, vfio.CAP_SPARSE_MMAP}
    (version,) = struct.unpack("I", nvme.read(0, VS, 4))
    assert (version ^ 0xFFFFFFFF) >> 16 == 1
    nvme.write(0, AQA, struct.pack("I", 0x00030007))
    assert nvme.read(0, AQA, 4) == struct.pack("I", 0x00030007 ^ 0xFFFFFFFF)
    # Across the border to the doorbells, which read as 0.
    assert nvme.read(0, 0xFF8, 16)[8:] == bytes(8)


def entries(device):
    """Returns the number of entries of the MSI-X table, by the configuration space."""
    at = device.read(vfio.CONFIG_REGION, 0x34, 1)[0]
    while at:
        kind, following, control = struct.unpack("BBH", device.read(vfio.CONFIG_REGION, at, 4))
        if kind == 0x11:
            (table,) = struct.unpack("I", device.read(vfio.CONFIG_REGION, at + 4, 4))
            assert table == MSIX_TABLE, "the table is elsewhere"
            return (control & 0x7FF) + 1
        at = following
    raise AssertionError("there is no MSI-X")


def test_the_interrupt_table_is_kept_in_a_trapped_page(nvme):
    """vfio-pci drops writes to it, and answers reads with ones; the driver learns of neither."""
    count = entries(nvme)
    end = MSIX_TABLE + count * MSIX_ENTRY
    assert end < MSIX_TABLE + PAGE
    # The table itself has zeroes, and ones in a single bit of each entry.
    assert nvme.read(0, MSIX_TABLE, count * MSIX_ENTRY) == b"\xff" * count * MSIX_ENTRY
    # Behind it, where the device has nothing, the driver answers.
    beyond = nvme.read(0, end, 64)
    assert nvme.read(0, end - 8, 16) == b"\xff" * 8 + beyond[:8]
    assert nvme.write(0, MSIX_TABLE, REFUSED * 4) == 32
    assert nvme.write(0, end - 8, REFUSED) == 8
    assert nvme.write(0, end - 8, REFUSED * 2) == 8
    with refused(errno.EPERM):
        nvme.write(0, end, REFUSED)
    with refused(errno.EPERM):
        nvme.write(0, MSIX_TABLE + PAGE - 8, REFUSED)
    # The page before is not trapped, and has the doorbells of a controller that is off.
    assert nvme.read(0, MSIX_TABLE - 8, 16) == bytes(8) + b"\xff" * 8


def test_interrupts_by_the_table_work(nvme):
    with vfio.EventFd() as event:
        nvme.set_irq(vfio.MSIX, event.fd)
        # VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER
        nvme.ioctl(vfio.DEVICE_SET_IRQS, struct.pack("IIIII", 20, 0x21, vfio.MSIX, 0, 1))
        assert event.take() == 1
        nvme.clear_irq(vfio.MSIX)


def test_a_stopped_device(ivshmem):
    """Trapped pages take no writes; what is not trapped is the user's in any state."""
    migration = v2.MigrationV2(ivshmem)
    border = TRAPPED.start
    ivshmem.write(MEMORY, border - 8, bytes(16))
    migration.set(v2.STOP)
    with refused(errno.EBUSY):
        ivshmem.write(MEMORY, border, b"\xaa" * 8)
    assert ivshmem.write(MEMORY, border - 8, b"\xaa" * 16) == 8
    assert ivshmem.read(MEMORY, border - 8, 16) == b"\xaa" * 8 + b"\xff" * 8
    migration.set(v2.RUNNING)
    assert ivshmem.write(MEMORY, border - 8, b"\xbb" * 16) == 16
    assert ivshmem.read(MEMORY, border - 8, 16) == b"\xbb" * 8 + b"\x44" * 8


@pytest.mark.parametrize("offset", (0, TRAPPED.start - 4, TRAPPED.start, TRAPPED.stop))
def test_no_ioeventfd(ivshmem, offset):
    """Nor for what is not trapped: the offset cannot be checked without a race."""
    with vfio.EventFd() as event:
        at = ivshmem.regions[MEMORY].offset + offset
        argument = struct.pack("IIQQi", 32, 4, at, 1, event.fd) + bytes(4)
        with refused(errno.ENOTTY):
            ivshmem.ioctl(vfio.DEVICE_IOEVENTFD, argument)


@pytest.mark.parametrize("offset", (0, TRAPPED.start, TRAPPED.stop))
def test_no_dma_buf(ivshmem, offset):
    request = struct.pack("IIIIQQ", MEMORY, os.O_RDWR | os.O_CLOEXEC, 0, 1, offset, PAGE)
    # ENOTTY by kernels that have no such buffers at all.
    found = error_of(ivshmem.feature, vfio.FEATURE_GET | vfio.FEATURE_DMA_BUF, request)
    assert found in (errno.EOPNOTSUPP, errno.ENOTTY)
