# SPDX-License-Identifier: GPL-2.0-only
"""Which accesses to the region's header are valid, and that refused ones change nothing."""

import ctypes
import errno
import os

import pytest

from lib.errnos import error_of, refused
from lib.protocols import region_2018
from lib.protocols.region_2018 import PAGE

READ_ONLY = (
    region_2018.PRECOPY_ONLY,
    region_2018.COMPATIBLE,
    region_2018.POSTCOPY_ONLY,
    region_2018.COPIED,
)
DATA = (region_2018.DATA_OFFSET, region_2018.DATA_SIZE)
LONGEST = 16
# Long enough to lie wholly in the gap between header and data section.
OFFSETS = (*range(region_2018.HEADER + 24), 2048, *range(PAGE - LONGEST, PAGE))


def fields_of(offset, length):
    """Returns the fields that an access of whole fields covers."""
    covered = [
        field
        for field in region_2018.FIELDS
        if offset <= field[0] and sum(field) <= offset + length
    ]
    whole = sum(size for _, size in covered) == length
    return covered if covered and whole and covered[0][0] == offset else []


def low_half_of(offset, length):
    """Returns the 64-bit field whose low half the access covers."""
    fields = region_2018.FIELDS
    return next((f for f in fields if length == 4 and f[0] == offset and f[1] == 8), None)


@pytest.fixture
def busy(guest):
    """A region in SETUP with a value in every field that can have one."""
    region = guest.region
    region.state = region_2018.SETUP
    guest.write_memory()
    region.set(region_2018.THRESHOLD, 0x1122334455667788)
    region.set(region_2018.START_ADDR, guest.IOVA)
    region.set(region_2018.TOTAL, 0x77)
    assert region.get(region_2018.COPIED) == 0x77
    return guest


@pytest.mark.writes_memory
def test_header_is_as_the_fields_say(busy):
    header = busy.region.header()
    expected = [region_2018.SETUP, 0, 0, 0, 0x1122334455667788, 4096, 0, busy.IOVA, 0x77, 0x77]
    for (offset, size), value in zip(region_2018.FIELDS, expected, strict=True):
        assert header[offset : offset + size] == value.to_bytes(size, "little")


@pytest.mark.writes_memory
def test_every_read(busy):
    region = busy.region
    before = region.header()
    for offset in OFFSETS:
        for length in range(1, LONGEST + 1):
            allowed = fields_of(offset, length) or low_half_of(offset, length)
            if offset + length > PAGE:
                # No access may touch the gap.
                allowed = False
            try:
                found = region.raw_read(offset, length)
            except OSError as error:
                found = error.errno
            expected = before[offset : offset + length] if allowed else errno.EINVAL
            assert found == expected, (offset, length)
            assert region.header() == before, (offset, length)


@pytest.mark.writes_memory
def test_every_run_of_whole_fields_can_be_read(busy):
    before = busy.region.header()
    for first in range(len(region_2018.FIELDS)):
        for last in range(first, len(region_2018.FIELDS)):
            start, end = region_2018.FIELDS[first][0], sum(region_2018.FIELDS[last])
            assert busy.region.raw_read(start, end - start) == before[start:end]
    with refused():
        busy.region.raw_read(0, region_2018.HEADER + 1)
    with refused():
        busy.region.raw_read(0, PAGE + 4)


@pytest.mark.writes_memory
def test_every_refused_write_changes_nothing(busy, rng):
    region = busy.region
    before = region.header()
    section = region.area[:]
    for offset in OFFSETS:
        for length in range(1, LONGEST + 1):
            fields = fields_of(offset, length)
            if offset + length <= PAGE:
                if fields and not set(fields) & {*READ_ONLY, *DATA}:
                    continue
                # A low half alone has no effect.
                if low_half_of(offset, length) not in (None, *READ_ONLY):
                    continue
            # Values that the fields, if there are any, would take.
            value = before[offset : offset + length].ljust(length, b"\0")
            for data in (value, rng.randbytes(length)):
                with refused():
                    region.raw_write(offset, data)
            assert region.header() == before, (offset, length)
    assert region.area[:] == section


@pytest.mark.writes_memory
def test_long_writes_that_touch_a_read_only_field_change_nothing(busy):
    region = busy.region
    before = region.header()
    for first in range(len(region_2018.FIELDS)):
        for last in range(first, len(region_2018.FIELDS)):
            fields = region_2018.FIELDS[first : last + 1]
            if set(fields) & {*READ_ONLY, *DATA}:
                start, end = fields[0][0], sum(fields[-1])
                with refused():
                    region.raw_write(start, before[start:end])
                assert region.header() == before


@pytest.mark.parametrize("state", region_2018.STATES)
@pytest.mark.parametrize("field", READ_ONLY)
def test_read_only_fields_in_every_state(guest, blank, state, field):
    guest.region.reach(state, blank)
    with refused():
        guest.region.set(field, 0)
    with refused():
        guest.region.raw_write(field[0], bytes(4))
    assert guest.region.state == state


@pytest.mark.parametrize(
    "state", [state for state in region_2018.STATES if state != region_2018.RESUME]
)
def test_data_fields_are_written_in_resume_only(guest, blank, state):
    region = guest.region
    region.reach(state, blank)
    before = guest.state()
    with refused():
        region.set(region_2018.DATA_OFFSET, 4096)
    for size in (0, 1, 100):
        with refused():
            region.set(region_2018.DATA_SIZE, size)
    with refused():
        region.raw_write(region_2018.DATA_OFFSET[0], (4096).to_bytes(8, "little") + bytes(8))
    assert (region.state, guest.state()) == (state, before)


@pytest.mark.parametrize("field", [region_2018.THRESHOLD, region_2018.START_ADDR])
@pytest.mark.parametrize("state", region_2018.STATES)
def test_fields_of_the_client_take_any_value_in_every_state(guest, blank, state, field):
    region = guest.region
    region.reach(state, blank)
    for value in (0, 4096, 0x1234_5678_9ABC_D000, 0xFFFF_FFFF_FFFF_F000):
        region.set(field, value)
        assert region.get(field) == value
        low, high = value & 0xFFFFFFFF, value >> 32
        region.set(field, 0)
        region.raw_write(field[0], low.to_bytes(4, "little"))
        assert region.raw_write(field[0] + 4, high.to_bytes(4, "little")) == 4
        assert region.get(field) == value
    assert region.state == state


@pytest.mark.writes_memory
def test_a_low_half_takes_effect_with_the_high_half(busy):
    region = busy.region
    before = region.header()
    region.raw_write(region_2018.THRESHOLD[0], b"\1\2\3\4")
    assert region.header() == before
    region.raw_write(region_2018.THRESHOLD[0], b"\1\2\3\4")
    region.raw_write(region_2018.THRESHOLD[0] + 4, b"\5\6\7\x08")
    assert region.raw_read(*region_2018.THRESHOLD) == b"\1\2\3\4\5\6\7\x08"


@pytest.mark.writes_memory
def test_halves_in_another_order_are_refused(busy):
    region = busy.region
    before = region.header()
    for field in (region_2018.THRESHOLD, region_2018.START_ADDR, region_2018.TOTAL):
        with refused():
            region.raw_write(field[0] + 4, bytes(4))
        assert region.header() == before
        with refused():
            region.raw_read(field[0] + 4, 4)
        # The low half of one and the high half of another.
        region.raw_write(region_2018.THRESHOLD[0], bytes(4))
        if field != region_2018.THRESHOLD:
            with refused():
                region.raw_write(field[0] + 4, bytes(4))
        assert region.header() == before
        # Reading a low half is not writing one.
        region.raw_read(field[0], 4)
        with refused():
            region.raw_write(field[0] + 4, bytes(4))
        # Writing a low half is not reading one.
        region.raw_write(field[0], bytes(4))
        with refused():
            region.raw_read(field[0] + 4, 4)
        assert region.header() == before


@pytest.mark.writes_memory
def test_every_64_bit_field_reads_as_two_halves(busy):
    region = busy.region
    header = region.header()
    for offset, size in region_2018.FIELDS:
        if size == 8:
            low = region.raw_read(offset, 4)
            assert low + region.raw_read(offset + 4, 4) == header[offset : offset + 8]
            with refused():
                region.raw_read(offset + 4, 4)


@pytest.mark.writes_memory
def test_two_fields_in_one_write(busy):
    region = busy.region
    start, total = busy.IOVA + 0x3000, 5
    region.raw_write(
        region_2018.START_ADDR[0], start.to_bytes(8, "little") + total.to_bytes(8, "little")
    )
    assert (region.get(region_2018.START_ADDR), region.get(region_2018.TOTAL)) == (start, total)
    # A wrong value of one field refuses both.
    with refused():
        region.raw_write(region_2018.START_ADDR[0], (0x7000).to_bytes(8, "little") + bytes(8))
    assert (region.get(region_2018.START_ADDR), region.get(region_2018.TOTAL)) == (start, total)


@pytest.mark.parametrize(
    "state",
    [s for s in region_2018.STATES if s not in (region_2018.PRECOPY, region_2018.STOPNCOPY)],
)
def test_reads_leave_data_section_and_device_alone(guest, blank, state, rng):
    region = guest.region
    region.reach(state, blank)
    content = rng.randbytes(region.data_size)
    region.area[:] = content
    registers = guest.state()
    before = region.header()
    for field in region_2018.FIELDS * 2:
        region.get(field)
    assert (region.header(), region.area[:], guest.state()) == (before, content, registers)


@pytest.mark.writes_memory
def test_a_bad_address_is_efault_and_changes_nothing(busy):
    region, libc = busy.region, ctypes.CDLL(None, use_errno=True)
    before = region.header()
    for call in (libc.pread, libc.pwrite):
        for offset, size in ((*region_2018.THRESHOLD,), (0, 4), (PAGE, 8), (PAGE, 100_000)):
            where = ctypes.c_long(region.info.offset + offset)
            assert call(busy.device.fd, ctypes.c_void_p(8), ctypes.c_size_t(size), where) == -1
            assert ctypes.get_errno() == errno.EFAULT
    assert region.header() == before


@pytest.mark.writes_memory
def test_empty_accesses_do_nothing(busy):
    region = busy.region
    before = region.header()
    assert region.raw_read(0, 0) == b""
    assert region.raw_write(0, b"") == 0
    assert region.header() == before


@pytest.mark.writes_memory
def test_vectored_reads_are_accesses_of_their_own(busy):
    """The kernel splits a readv() of state and counts at the borders of the buffers."""
    region = busy.region
    buffers = [bytearray(4), bytearray(8), bytearray(24)]
    assert os.preadv(busy.device.fd, buffers, region.info.offset) == 36
    assert b"".join(buffers) == region.header()[:36]


@pytest.mark.writes_memory
def test_the_devices_state_is_not_the_headers_business(busy):
    before = busy.state()
    assert error_of(busy.region.raw_write, 0, b"\xff" * region_2018.HEADER) == errno.EINVAL
    assert busy.state() == before
