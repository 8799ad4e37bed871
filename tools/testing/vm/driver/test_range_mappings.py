# SPDX-License-Identifier: GPL-2.0-only
"""Mappings of a BAR of which some pages are trapped: none ever reaches these.

BAR 2 of the device is memory. A trapped read returns the complement of what is there.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import pathlib
import re
import struct

import pytest

from lib.errnos import refused
from lib.kernel_log import KernelLog
from lib.libc import libc

pytestmark = pytest.mark.physical

PAGE, HUGE = 4096, 2 << 20
MEMORY, SIZE = 2, 8 << 20
TRAPPED = range(0x1FF000, 0x201000)

PROT_READ, PROT_WRITE, MAP_SHARED, MAP_FIXED = 1, 2, 1, 0x10
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4

libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = (ctypes.c_void_p, *[ctypes.c_size_t] * 2, ctypes.c_int, ctypes.c_void_p)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.remap_file_pages.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_size_t, ctypes.c_int)

# The switch of the kernel's debugging messages, and what vfio-pci says of a fault.
CONTROL = pathlib.Path("/proc/dynamic_debug/control")
FAULT = re.compile(r"order = (\d+)\) BAR (\d+) page offset 0x([0-9a-f]+): 0x([0-9a-f]+)")
MAPPED = 0x100  # VM_FAULT_NOPAGE


def address_of(result):
    """Returns the address that a call returned; raises the OSError that it reports."""
    if result == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


@contextlib.contextmanager
def room(size):
    """Yields an address, aligned to huge pages, at which `size` bytes can be mapped."""
    address = address_of(libc.mmap(None, size + HUGE, 0, 0x22, -1, 0))
    yield -(-address // HUGE) * HUGE
    libc.munmap(address, size + HUGE)


def map_at(device, address, start, end, index=MEMORY, flags=MAP_SHARED):
    """Maps bytes of a BAR at an address, or anywhere; returns where they are."""
    fixed = MAP_FIXED if address else 0
    return address_of(libc.mmap(address, end - start, PROT_READ | PROT_WRITE, flags | fixed,
                                device.fd, device.regions[index].offset + start))


def put(address, value):
    ctypes.c_uint64.from_address(address).value = value


def get(address):
    return ctypes.c_uint64.from_address(address).value


def read(device, offset):
    """Returns what a call reads of the memory."""
    return struct.unpack("Q", device.read(MEMORY, offset, 8))[0]


@pytest.fixture
def device(ivshmem):
    """The device; the first bytes of each page of its memory are the page's number."""
    for page in range(0x1F0, 0x210):
        ivshmem.write(MEMORY, page * PAGE, struct.pack("Q", page))
    yield ivshmem
    # Nothing that a test did to a mapping has changed what is trapped.
    for page in (0x1FF, 0x200):
        assert read(ivshmem, page * PAGE) == page ^ 0xFFFF_FFFF_FFFF_FFFF


@pytest.mark.parametrize("start, end", [
    (0x1FF000, 0x200000),
    (0x200000, 0x201000),
    (0x1FF000, 0x201000),
    (0x1FE000, 0x200000),
    (0x200000, 0x202000),
    (0, 0x200000),
    (0, SIZE),
    (0x1FE000, 0x202000),
    (HUGE, SIZE),
    # Beyond the BAR.
    (SIZE - PAGE, SIZE + PAGE),
    (SIZE, SIZE + PAGE),
    (0x4000_0000, 0x4000_1000),
    (0, 1 << 40),
    ((1 << 40) - PAGE, 1 << 40),
])
def test_no_trapped_page_is_mapped(device, start, end):
    with refused():
        map_at(device, None, start, end)


def test_other_bars(device):
    """One whose only page is trapped, and those that are not there."""
    for index in (0, 1, 3, 4, 5):
        with refused():
            map_at(device, None, 0, PAGE, index)


def test_private_mappings_are_refused(device):
    with refused():
        map_at(device, None, 0, PAGE, flags=mmap.MAP_PRIVATE)


def test_a_mapping_and_calls_see_the_same_memory(device):
    first = map_at(device, None, 0, TRAPPED.start)
    second = map_at(device, None, TRAPPED.stop, SIZE)
    for page in (0x1F0, 0x1FE):
        assert get(first + page * PAGE) == page
    for page in (0x201, 0x20F):
        assert get(second + page * PAGE - TRAPPED.stop) == page
    put(first + TRAPPED.start - 8, 0x1111)
    put(second + 8, 0x2222)
    assert read(device, TRAPPED.start - 8) == 0x1111
    assert read(device, TRAPPED.stop + 8) == 0x2222
    device.write(MEMORY, SIZE - 8, struct.pack("Q", 0x3333))
    assert get(second + SIZE - 8 - TRAPPED.stop) == 0x3333
    libc.munmap(first, TRAPPED.start)
    libc.munmap(second, SIZE - TRAPPED.stop)


def test_registers_beside_trapped_pages(nvme, ranged_edu):
    """The doorbells and the interrupts' pending bits; the MSI-X table is in a trapped page."""
    for opened, plain, trapped in ((nvme, (1, 3), (0, 2)), (ranged_edu, (1, 3, 255), (0, 2))):
        for page in plain:
            address = map_at(opened, None, page * PAGE, (page + 1) * PAGE, index=0)
            assert ctypes.c_uint32.from_address(address).value in (0, 0xFFFF_FFFF)
            libc.munmap(address, PAGE)
        for page in trapped:
            with refused():
                map_at(opened, None, page * PAGE, (page + 1) * PAGE, index=0)
        with refused():
            map_at(opened, None, PAGE, 3 * PAGE, index=0)


def test_a_mapping_does_not_grow(device):
    start, end = TRAPPED.start - 2 * PAGE, TRAPPED.start
    with room(HUGE) as address:
        map_at(device, address, start, end)
        # In place, elsewhere, as a second mapping of the same pages, and without its own.
        for old, new, flags in (
            (2 * PAGE, 3 * PAGE, 0),
            (2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE),
            (PAGE, 2 * PAGE, MREMAP_MAYMOVE),
            (0, 3 * PAGE, MREMAP_MAYMOVE),
        ):
            with refused(errno.EFAULT):
                address_of(libc.mremap(address, old, new, flags, None))
        assert get(address) == 0x1FD


def test_a_mapping_that_moves_keeps_its_pages(device):
    start, end = TRAPPED.start - 4 * PAGE, TRAPPED.start
    with room(HUGE) as address, room(HUGE) as other:
        map_at(device, address, start, end)
        assert get(address + 3 * PAGE) == 0x1FE
        # Two pages from the middle go, then the last moves.
        libc.munmap(address + PAGE, 2 * PAGE)
        flags = MREMAP_MAYMOVE | MREMAP_FIXED
        moved = address_of(libc.mremap(address + 3 * PAGE, PAGE, PAGE, flags, other))
        assert moved == other
        assert get(other) == 0x1FE
        assert get(address) == 0x1FB
        # The page behind it would be trapped.
        with refused(errno.EFAULT):
            address_of(libc.mremap(other, PAGE, 2 * PAGE, MREMAP_MAYMOVE, None))


@pytest.mark.parametrize("page", (0x1FE, 0x1FF, 0x200))
def test_a_mapping_gets_no_other_pages(device, page):
    """remap_file_pages() maps the file anew, at any page of it."""
    region = device.regions[MEMORY].offset // PAGE
    with room(HUGE) as address:
        map_at(device, address, 0, 2 * PAGE)
        assert libc.remap_file_pages(address, 2 * PAGE, 0, region + 0x1FD, 0) == 0
        assert get(address) == 0x1FD
        assert get(address + PAGE) == 0x1FE
        with refused():
            if libc.remap_file_pages(address, 2 * PAGE, 0, region + page, 0):
                raise OSError(ctypes.get_errno(), "remap_file_pages")


def test_a_child_has_the_same_pages(device):
    with room(HUGE) as address:
        map_at(device, address, TRAPPED.start - PAGE, TRAPPED.start)
        child = os.fork()
        if not child:
            try:
                put(address + 8, get(address) + 1)
                with refused(errno.EFAULT):
                    address_of(libc.mremap(address, PAGE, 2 * PAGE, MREMAP_MAYMOVE, None))
                with refused():
                    map_at(device, None, TRAPPED.start, TRAPPED.stop)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert get(address + 8) == 0x1FF


@contextlib.contextmanager
def faults(start):
    """Yields a list, which has the pages of the BAR that were mapped meanwhile, as ranges.

    `start` is where in the BAR the mapping begins. The list is None if the kernel cannot tell; it
    has no more than the kernel's limit of messages.
    """
    if not CONTROL.exists():
        yield None
        return
    CONTROL.write_text("func vfio_pci_mmap_huge_fault +p", encoding="ascii")
    found = []
    with KernelLog() as log:
        yield found
        for match in filter(None, map(FAULT.search, log.take())):
            order, bar, page = int(match[1]), int(match[2]), int(match[3], 16)
            if int(match[4], 16) == MAPPED:
                assert bar == MEMORY
                first = start // PAGE + page
                found.append(range(first, first + (1 << order)))
    CONTROL.write_text("func vfio_pci_mmap_huge_fault -p", encoding="ascii")


def test_huge_pages_end_before_trapped_ones(device, count):
    """Mapped so that a huge page would fit at every 2 MiB, were it not for the borders."""
    sizes = []
    for start, end, touched in (
        (0, TRAPPED.start, (0, HUGE // 2, TRAPPED.start - 8)),
        (TRAPPED.stop, SIZE, (TRAPPED.stop, 2 * HUGE - 8, 2 * HUGE, SIZE - 8)),
    ):
        # The kernel limits its messages.
        KernelLog.refill()
        with room(SIZE) as address, faults(start) as found:
            map_at(device, address + start, start, end)
            for at in touched:
                put(address + at, at)
            for at in touched:
                assert read(device, at) == at
        if found is None:
            continue
        assert len(found) == len(touched)
        for pages in found:
            assert start // PAGE <= pages.start and pages.stop <= end // PAGE
        sizes += map(len, found)
    # Two of them are the second part's whole huge pages.
    if sizes:
        assert sorted(sizes) == [1] * 5 + [HUGE // PAGE] * 2
        count(f"faults beside trapped pages: {sizes.count(1)} small, {sizes.count(512)} huge")
