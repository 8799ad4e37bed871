# SPDX-License-Identifier: GPL-2.0-only
"""The region's info, and which parts of the device can be mapped."""

import ctypes
import errno
import mmap
import os
import struct

import pytest

from lib import vfio
from lib.errnos import refused
from lib.protocols import region_2018
from lib.protocols.region_2018 import PAGE

READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE

# From asm-generic/mman-common.h; Python has no name for it.
MADV_POPULATE_READ = 22


def map_region(guest, index, offset, size, flags=mmap.MAP_SHARED, prot=READ_WRITE):
    region = guest.device.regions[index]
    mmap.mmap(guest.device.fd, size, flags=flags, prot=prot, offset=region.offset + offset).close()


def test_exactly_one_region_has_the_type(guest):
    info = guest.region.info
    found = [
        region for region in guest.device.regions if (region.type, region.subtype) == (1 << 30, 1)
    ]
    assert found == [info]
    assert info.index >= vfio.PCI_REGIONS
    assert info.flags == (
        vfio.REGION_READ | vfio.REGION_WRITE | vfio.REGION_MMAP | vfio.REGION_CAPS
    )


def test_size_and_sparse_area(guest):
    info = guest.region.info
    section = 256 * 1024
    assert info.areas == [(4096, section)]
    assert info.size == 4096 + section
    assert guest.region.get(region_2018.DATA_OFFSET) == 4096


def test_parts_of_the_section_can_be_mapped(guest):
    index, size = guest.region.info.index, guest.region.info.size
    for offset, length in ((4096, 4096), (4096, size - 4096), (8192, 8192), (size - 4096, 4096)):
        map_region(guest, index, offset, length)
    map_region(guest, index, 4096, 4096, prot=mmap.PROT_READ)


@pytest.mark.parametrize("offset, length", [(0, 4096), (0, 8192), (0, None), ("end", 4096),
                                            ("last", 8192), (4096, "more"), (1 << 39, 4096)])
def test_header_and_beyond_cannot_be_mapped(guest, offset, length):
    size = guest.region.info.size
    offset = {"end": size, "last": size - 4096}.get(offset, offset)
    length = {None: size, "more": size}.get(length, length)
    with refused():
        map_region(guest, guest.region.info.index, offset, length)


def test_private_and_executable_mappings_are_refused(guest):
    index = guest.region.info.index
    with refused():
        map_region(guest, index, 4096, 4096, flags=mmap.MAP_PRIVATE)
    # The group's file is on a file system without execution, so the driver is not asked.
    with refused(errno.EINVAL if vfio.THROUGH_IOMMUFD else errno.EPERM):
        map_region(guest, index, 4096, 4096, prot=READ_WRITE | mmap.PROT_EXEC)


def test_mapping_and_calls_see_the_same_bytes(guest, rng):
    region, size = guest.region, guest.region.data_size
    content = rng.randbytes(size)
    region.area[:] = content
    assert region.raw_read(4096, size) == content
    for _ in range(20):
        at = rng.randrange(size)
        part = rng.randbytes(rng.randint(1, min(20000, size - at)))
        if rng.getrandbits(1):
            region.area[at : at + len(part)] = part
        else:
            assert region.raw_write(4096 + at, part) == len(part)
        content = content[:at] + part + content[at + len(part) :]
    assert region.raw_read(4096, size) == content == region.area[:]


def test_pages_that_a_mapping_gives_up_come_back_with_the_next_mapping(guest):
    """No page fault brings them back: an access gets SIGBUS, one by the kernel EFAULT."""
    region, size = guest.region, guest.region.data_size
    region.area[:] = bytes(range(256)) * (size // 256)
    region.area.madvise(mmap.MADV_DONTNEED, PAGE, PAGE)
    with refused(errno.EFAULT):
        region.area.madvise(MADV_POPULATE_READ, 0, 2 * PAGE)
    ours, theirs = os.pipe()
    with refused(errno.EFAULT):
        os.write(theirs, memoryview(region.area)[PAGE : PAGE + 16])
    os.close(ours)
    os.close(theirs)
    content = bytes(range(256)) * (size // 256)
    assert region.area[: PAGE] == content[: PAGE]
    assert region.area[2 * PAGE :] == content[2 * PAGE :]
    assert region.raw_read(4096, size) == content
    again = mmap.mmap(guest.device.fd, size, offset=region.info.offset + 4096)
    assert again[:] == content
    again.close()


def test_calls_stop_at_the_end_of_the_region(guest):
    region, size = guest.region, guest.region.info.size
    region.area[-3:] = b"abc"
    assert region.raw_read(size - 3, 100) == b"abc"
    assert region.raw_write(size - 2, b"xyz") == 2
    assert region.area[-3:] == b"axy"
    with refused():
        region.raw_read(size, 1)
    with refused():
        region.raw_write(size, b"x")
    with refused():
        region.raw_read(1 << 39, 4)


def test_the_section_begins_empty(bdfs, guest):
    guest.region.area[:] = b"\xaa" * guest.region.data_size
    guest.close()
    with type(guest)(bdfs[0]) as again:
        assert not any(again.region.area[:])


def test_a_mapping_outlives_the_device_file(guest):
    area = guest.region.area
    os.close(guest.device.fd)
    guest.device.fd = -1
    area[:4] = b"abcd"
    assert area[:4] == b"abcd"


def vmsplice(pipe, memory):
    """Puts a page of memory itself, not a copy, into a pipe."""
    libc = ctypes.CDLL(None, use_errno=True)
    vec = struct.pack("PN", memory.address, PAGE)
    if libc.vmsplice(pipe, vec, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "vmsplice")


def test_a_page_that_was_kept_shows_nothing_of_the_next_user(bdfs, guest):
    ours, theirs = os.pipe()
    guest.region.area[:4] = b"mine"
    vmsplice(theirs, vfio.Memory(PAGE, guest.region.area))
    guest.close()
    with type(guest)(bdfs[0]) as again:
        again.region.area[:6] = b"secret"
        assert os.read(ours, PAGE)[:6] == b"mine\0\0"
    os.close(ours)
    os.close(theirs)


def test_bar0_cannot_be_mapped(guest):
    info = guest.device.regions[vfio.BAR0_REGION]
    assert info.flags & (vfio.REGION_READ | vfio.REGION_WRITE | vfio.REGION_MMAP) == (
        vfio.REGION_READ | vfio.REGION_WRITE
    )
    assert info.areas == []
    for offset in (0, 4096, info.size - 4096):
        with refused():
            map_region(guest, vfio.BAR0_REGION, offset, 4096)


def test_reset_is_announced(guest):
    flags, regions, _ = guest.device.info()
    assert flags & (vfio.DEVICE_FLAGS_RESET | vfio.DEVICE_FLAGS_PCI) == 3
    assert regions > guest.region.info.index


def test_ioeventfd_and_dma_buf_are_refused(guest):
    with vfio.EventFd() as event:
        argument = struct.pack("IIQQi", 32, 4, guest.device.regions[0].offset + 0x60, 1, event.fd)
        with refused(errno.ENOTTY):
            guest.device.ioctl(vfio.DEVICE_IOEVENTFD, argument + bytes(4))
    # Region 0, O_RDWR | O_CLOEXEC, no flags, one range: its first page.
    request = struct.pack("IIIIQQ", 0, os.O_RDWR | os.O_CLOEXEC, 0, 1, 0, 4096)
    try:
        guest.device.feature(vfio.FEATURE_GET | vfio.FEATURE_DMA_BUF, request)
        found = 0
    except OSError as error:
        found = error.errno
    assert found in (errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP)
