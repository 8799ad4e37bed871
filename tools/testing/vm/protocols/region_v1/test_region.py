# SPDX-License-Identifier: GPL-2.0-only
"""The v1 region: its info, accesses, states and buffers."""

import ctypes
import errno
import mmap

import pytest

from lib.clients import IMAGE, IMAGE_PRECOPY, Client
from lib.errnos import error_of, refused
from lib.image import Image
from lib.libc import Pages, call, libc
from lib.protocols import region_v1 as v1
from lib.vfio import REGION_CAPS, REGION_MMAP, REGION_READ, REGION_WRITE

# Pairs of states that no arc connects.
BLOCKED = {(v1.STOP_COPY, v1.PRE_COPY)}
STATES = v1.STATES


def to(guest, state, image=None):
    """Takes a running device to a state."""
    guest.v1.state = state
    if state == v1.RESUMING and image:
        guest.v1.set_buffer(image)
    assert guest.v1.state == state


def test_where_the_region_is(guest):
    info = guest.v1.info
    assert (info.type, info.subtype) == (3, 1)
    assert info.flags == REGION_READ | REGION_WRITE | REGION_MMAP | REGION_CAPS
    assert info.areas == [(v1.PAGE, info.size - v1.PAGE)]
    assert info.areas[0][1] % v1.PAGE == 0 and info.areas[0][1] > 0
    # No client takes it for region_2018.
    assert info.index != guest.region.info.index
    assert (guest.region.info.type, guest.region.info.subtype) != (3, 1)
    assert guest.region.info.size == info.size


def test_what_can_be_mapped(guest):
    info = guest.v1.info
    fd = guest.device.fd
    for pages, at in ((1, 0), (2, 0), (info.size // v1.PAGE, 0)):
        with refused(errno.EINVAL):
            mmap.mmap(fd, pages * v1.PAGE, offset=info.offset + at)
    with refused(errno.EINVAL):
        mmap.mmap(fd, info.size, offset=info.offset + v1.PAGE)
    for at in (v1.PAGE, info.size - v1.PAGE):
        with mmap.mmap(fd, v1.PAGE, offset=info.offset + at) as area:
            area[:5] = b"hello"
            assert guest.v1.raw_read(at, 5) == b"hello"
            assert guest.v1.area[at - v1.PAGE : at - v1.PAGE + 5] == b"hello"
            guest.v1.raw_write(at, b"again")
            assert area[:5] == b"again"


@pytest.mark.parametrize("state", STATES)
def test_only_whole_fields(guest, blank, state):
    to(guest, state, blank)
    for offset in range(v1.HEADER + 9):
        for size in (1, 2, 3, 4, 5, 8, 12, 16, 24, 32):
            if (offset, size) in v1.FIELDS:
                continue
            with refused():
                guest.v1.raw_read(offset, size)
            with refused():
                guest.v1.raw_write(offset, bytes(size))
    # Between header and data section, and across the end of either, there is nothing.
    for offset, size in ((v1.PAGE - 8, 8), (v1.PAGE - 1, 1), (v1.PAGE - 4, 8), (0, v1.PAGE),
                         (0, 1 << 16), (guest.v1.info.size, 1), (guest.v1.info.size + 8, 8)):
        with refused():
            guest.v1.raw_read(offset, size)
        with refused():
            guest.v1.raw_write(offset, bytes(size))
    assert guest.v1.state == state
    for field in (v1.PENDING_BYTES, v1.DATA_OFFSET):
        for value in (0, 1, 4096):
            with refused():
                guest.v1.set(field, value)
    for value in (0, 1, 4096):
        guest.v1.set(v1.RESERVED, value)
        assert guest.v1.get(v1.RESERVED) == 0
    assert guest.v1.get(v1.DATA_OFFSET) == v1.PAGE == guest.v1.data_offset
    assert guest.v1.state == state


def test_the_data_section_takes_every_width(guest, rng):
    content = rng.randbytes(64)
    for size in (1, 2, 4, 8, 64):
        for at in range(0, 64, size):
            assert guest.v1.raw_write(v1.PAGE + at, content[at : at + size]) == size
        assert guest.v1.area[:64] == content
        read = b"".join(guest.v1.raw_read(v1.PAGE + at, size) for at in range(0, 64, size))
        assert read == content
        guest.v1.area[:64] = bytes(64)
    # The end of the region shortens a call.
    end = guest.v1.info.size
    assert guest.v1.raw_write(end - 3, b"12345678") == 3
    assert guest.v1.raw_read(end - 3, 8) == b"123"


@pytest.mark.parametrize("before", STATES)
def test_every_pair_of_states(guest, blank, before):
    for after in range(9):
        guest.device.reset()
        new = guest.state()
        guest.touch(0x1234)
        to(guest, before, blank)
        registers = guest.state()
        found = error_of(guest.v1.set, v1.DEVICE_STATE, after)
        if after not in STATES or (before, after) in BLOCKED:
            assert (after, found, guest.v1.state) == (after, errno.EINVAL, before)
            assert guest.state() == registers
            continue
        assert (after, found, guest.v1.state) == (after, 0, after)
        fresh = after == v1.RESUMING != before
        assert guest.state() == (new if fresh else registers)
        write = error_of(guest.touch, 1)
        assert write == (0 if after in (v1.RUNNING, v1.PRE_COPY) else errno.EBUSY)


@pytest.mark.parametrize("state", STATES)
def test_bits_that_are_reserved(guest, blank, state):
    to(guest, state, blank)
    for bit in range(3, 32):
        for low in (*STATES, 6):
            with refused():
                guest.v1.state = low | 1 << bit
    assert guest.v1.state == state


def test_a_staged_buffer_stays_until_it_is_consumed(guest, rng):
    guest.furnish(rng)
    image = b""
    for state in (v1.PRE_COPY, v1.STOP_COPY):
        guest.v1.state = state
        left = {v1.PRE_COPY: IMAGE_PRECOPY, v1.STOP_COPY: IMAGE - IMAGE_PRECOPY}[state]
        assert guest.v1.pending() == left
        data = guest.v1.get_buffer()
        for _ in range(3):
            assert guest.v1.state == state
            assert guest.v1.get_buffer() == data
        assert len(data) == left
        image += data
        assert guest.v1.pending() == 0
        assert guest.v1.get_buffer() == b""
    assert Image.parse(image).build() == image


def test_a_state_written_consumes(guest, blank):
    guest.v1.state = v1.PRE_COPY
    image = guest.v1.get_buffer()
    for state in (5, 6, 7, 1 << 31):
        with refused():
            guest.v1.state = state
    assert guest.v1.get_buffer() == image
    guest.v1.state = v1.STOP_COPY
    image += guest.v1.get_buffer()
    # QEMU does so: it writes the same state once more, then reads what is pending.
    guest.v1.state = v1.STOP_COPY
    image += guest.v1.drain()
    assert image == blank


def test_pending_is_0_unless_the_device_is_saved(guest, blank):
    for state in (v1.STOP, v1.RUNNING, v1.RESUMING):
        to(guest, state, blank)
        assert guest.v1.pending() == 0
        assert guest.v1.get(v1.DATA_SIZE) == 0
        guest.v1.state = v1.RUNNING


@pytest.mark.parametrize("use_mmap", [True, False])
def test_a_migration_as_qemu_does_it(bdfs, rng, use_mmap):
    with Client(bdfs[0], use_mmap) as source, Client(bdfs[1], use_mmap) as target:
        for one, other in ((source, target), (target, source)):
            content = one.furnish(rng)
            expected = one.state()
            image = b""
            for mask, value in ((~0, v1.PRE_COPY), (~v1.RUNNING, 0), (~v1.RUNNING, v1.STOP_COPY)):
                one.v1.state = one.v1.state & mask | value
                image += one.v1.drain()
            one.v1.state = one.v1.state & ~v1.STOP_COPY
            assert len(image) == IMAGE
            other.v1.state = v1.RESUMING
            for at in range(0, IMAGE, 1000):
                other.v1.set_buffer(image[at : at + 1000])
            other.v1.state = v1.RUNNING
            assert other.state() == expected
            assert other.hidden() == content
            # A source does this if the migration fails in the end.
            one.v1.state = one.v1.state & ~6 | v1.RUNNING
            assert one.state() == expected


@pytest.mark.parametrize("state", [v1.PRE_COPY, v1.STOP_COPY, v1.STOP])
def test_a_cancelled_save_loses_nothing(guest, rng, state):
    content = guest.furnish(rng)
    expected = guest.state()
    guest.v1.state = state
    guest.v1.get_buffer()
    guest.v1.state = guest.v1.state & ~6 | v1.RUNNING
    assert guest.state() == expected
    assert guest.hidden() == content


@pytest.mark.precopy
def test_a_damaged_image_is_refused_by_the_write_of_its_size(guest, blank):
    for at in (0, 30, 70, 2000, IMAGE_PRECOPY - 2, IMAGE - 2):
        bad = bytearray(blank)
        bad[at] ^= 4
        guest.v1.state = v1.RESUMING
        with refused():
            guest.v1.set_buffer(bad)
        for state in (v1.RUNNING, v1.STOP, v1.STOP_COPY, v1.PRE_COPY):
            with refused():
                guest.v1.state = state
            # The state is never 6, the error.
            assert guest.v1.state == v1.RESUMING
        with refused():
            guest.v1.set_buffer(blank)
        guest.device.reset()
        assert guest.v1.state == v1.RUNNING
    guest.v1.load(blank)
    guest.is_fresh()


def test_an_incomplete_image_keeps_the_state(guest, blank):
    guest.v1.state = v1.RESUMING
    for part in (blank[:64], blank[64:-1], blank[-1:]):
        with refused():
            guest.v1.state = v1.RUNNING
        assert guest.v1.state == v1.RESUMING
        guest.v1.set_buffer(part)
    guest.v1.state = v1.RUNNING


def test_a_size_that_cannot_be(guest, blank):
    for state in STATES:
        to(guest, state, blank[:100])
        for size in (guest.v1.data_size + 1, 1 << 32, 1 << 63, (1 << 64) - 1):
            with refused():
                guest.v1.set(v1.DATA_SIZE, size)
        if state != v1.RESUMING:
            with refused():
                guest.v1.set(v1.DATA_SIZE, 100)
        assert guest.v1.state == state
        guest.device.reset()


def test_bad_addresses(guest, blank):
    """A fault in the header changes nothing, one in the data section shortens the call."""
    fd, region = guest.device.fd, guest.v1.info.offset
    with Pages(v1.PAGE) as pages:
        for offset, size in v1.FIELDS:
            with refused(errno.EFAULT):
                call(libc.pwrite, fd, pages.before_bad(size - 1), size, region + offset)
        guest.v1.state = v1.STOP_COPY
        image = b""
        while guest.v1.pending():
            for offset, size in (v1.DATA_OFFSET, v1.DATA_SIZE):
                with refused(errno.EFAULT):
                    call(libc.pread, fd, pages.before_bad(size - 1), size, region + offset)
            image += guest.v1.get_buffer()
        assert image == blank
        guest.v1.area[: v1.PAGE] = b"x" * v1.PAGE
        ctypes.memset(pages.address, 0, v1.PAGE)
        found = call(libc.pread, fd, pages.address, 2 * v1.PAGE, region + v1.PAGE)
        assert found == v1.PAGE
        assert ctypes.string_at(pages.address, found) == b"x" * v1.PAGE
        with refused(errno.EFAULT):
            call(libc.pwrite, fd, pages.bad, 8, region + v1.PAGE)


def test_the_section_of_a_new_user_is_empty(bdfs):
    with Client(bdfs[0]) as guest:
        guest.v1.area[:] = b"\xaa" * guest.v1.data_size
    with Client(bdfs[0]) as guest:
        assert guest.v1.area[:] == bytes(guest.v1.data_size)
        assert guest.v1.state == v1.RUNNING
