# SPDX-License-Identifier: GPL-2.0-only
"""The query of dirty pages against a model that compares memory."""

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import modules
from lib.errnos import refused
from lib.guest import Guest
from lib.image import Image
from lib.protocols import region_2018

PAGE = region_2018.PAGE
PAGES_OF_SPACE = 1 << 52


@pytest.fixture
def tracked(guest):
    """A device in SETUP, whose writes show in its memory."""
    guest.mark_writes()
    guest.region.state = region_2018.SETUP
    return guest


def everything(guest):
    """Returns the dirty pages of all memory."""
    return guest.region.dirty(guest.IOVA, guest.memory.size // PAGE)


@pytest.mark.writes_memory
def test_random_transfers(tracked, rng):
    """No page is missing, no other is reported, none is reported twice."""
    for written in tracked.random_writes(rng):
        assert everything(tracked) == written
        assert everything(tracked) == set()


@pytest.mark.edu
def test_every_phase_of_the_save_counts(tracked):
    region = tracked.region
    for number, state in enumerate((region_2018.SETUP, region_2018.PRECOPY)):
        region.state = state
        tracked.write_memory(number * PAGE, 1)
    # A transfer that lands while the stop waits for it.
    tracked.start_to_memory(9, 1)
    region.state = region_2018.STOPNCOPY
    region.drain()
    region.state = region_2018.SAVE_COMPLETED
    assert everything(tracked) == tracked.changed() == {
        tracked.IOVA + page * PAGE for page in (0, 1, 9)
    }
    assert everything(tracked) == set()


@pytest.mark.writes_memory
@pytest.mark.parametrize(
    "state", [region_2018.PRECOPY, region_2018.STOPNCOPY, region_2018.SAVE_COMPLETED]
)
def test_queries_in_later_states(tracked, state):
    tracked.write_memory(0x4000, 1)
    region = tracked.region
    region.state = region_2018.PRECOPY
    if state != region_2018.PRECOPY:
        region.state = region_2018.STOPNCOPY
    if state == region_2018.SAVE_COMPLETED:
        region.drain()
        region.state = region_2018.SAVE_COMPLETED
    assert everything(tracked) == {tracked.IOVA + 0x4000}


@pytest.mark.edu
def test_a_transfer_under_way_is_reported_after_it_has_landed(tracked):
    page = tracked.IOVA + 7 * PAGE
    tracked.start_to_memory(7, 1)
    assert tracked.edu.read64(edu.DMA_COMMAND) & edu.RUN
    first = everything(tracked)
    assert tracked.edu.read64(edu.DMA_COMMAND) & edu.RUN
    assert tracked.memory.bytes[7 * PAGE] == 0
    assert first in (set(), {page})
    tracked.edu.wait_transfer()
    assert everything(tracked) == tracked.changed() == {page}
    assert everything(tracked) == set()


@pytest.mark.edu
def test_a_transfer_under_way_when_tracking_begins(guest):
    guest.fill(b"\1" * 16)
    guest.memory.bytes[:] = bytes(guest.memory.size)
    guest.start_to_memory(3, 16)
    guest.region.state = region_2018.SETUP
    assert guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
    guest.edu.wait_transfer()
    assert everything(guest) == guest.changed() == {guest.IOVA + 3 * PAGE}


@pytest.mark.writes_memory
def test_what_was_written_before_is_not_reported(guest):
    guest.write_memory(3 * PAGE, 64)
    guest.region.state = region_2018.SETUP
    assert everything(guest) == set()
    # A new save begins with nothing dirty.
    guest.write_memory(4 * PAGE, 64)
    guest.region.state = region_2018.CANCELLED
    guest.region.state = region_2018.SETUP
    assert everything(guest) == set()


@pytest.mark.writes_memory
def test_setup_again_forgets_nothing(tracked):
    tracked.write_memory(0x5000, 1)
    tracked.region.state = region_2018.SETUP
    assert everything(tracked) == {tracked.IOVA + 0x5000}


@pytest.mark.edu
def test_transfers_into_the_buffer_are_not_reported(tracked):
    tracked.edu.to_device(tracked.IOVA + 0x2000)
    assert everything(tracked) == set()


@pytest.mark.writes_memory
def test_the_drivers_own_transfers_are_not_reported(tracked):
    tracked.region.state = region_2018.PRECOPY
    tracked.region.drain()
    assert tracked.region.dirty(0, 1 << 16) == set()


@pytest.mark.writes_memory
def test_a_page_is_reported_once_and_by_ranges(tracked):
    for page in (1, 2, 8, 63, 64, 65, 129):
        tracked.write_memory(page * PAGE, 1)
    base = tracked.IOVA
    dirty = tracked.region.dirty
    assert dirty(base + PAGE, 1) == {base + PAGE}
    assert dirty(base + PAGE, 1) == set()
    assert dirty(base + 3 * PAGE, 5) == set()
    assert dirty(base + 2 * PAGE, 7) == {base + 2 * PAGE, base + 8 * PAGE}
    # The ranges start and end within a byte, and within a word, of the bitmap.
    assert dirty(base + 64 * PAGE, 1) == {base + 64 * PAGE}
    assert dirty(base + 63 * PAGE, 3) == {base + 63 * PAGE, base + 65 * PAGE}
    assert dirty(0, 1 << 40) == {base + 129 * PAGE}
    assert dirty(0, 1 << 40) == set()


@pytest.mark.writes_memory
def test_bitmap_and_copied(tracked):
    region, base = tracked.region, tracked.IOVA
    tracked.write_memory(3 * PAGE - 1, 2)
    region.set(region_2018.START_ADDR, base)
    region.set(region_2018.TOTAL, 13)
    region.area[:8] = b"\xff" * 8
    assert region.get(region_2018.COPIED) == 13
    # Pages 2 and 3; no bit is set beyond the range.
    assert region.area[:2] == b"\x0c\0"
    # A second read gives the same; a second query finds nothing.
    region.area[:2] == b"\x0c\0"
    assert region.get(region_2018.COPIED) == 13
    region.set(region_2018.TOTAL, 13)
    assert region.get(region_2018.COPIED) == 0
    assert region.get(region_2018.COPIED) == 0


def whole(region):
    return region.get(region_2018.DATA_OFFSET)


def halves(region):
    at = region_2018.DATA_OFFSET[0]
    return int.from_bytes(region.raw_read(at, 4) + region.raw_read(at + 4, 4), "little")


def with_size(region):
    data = region.raw_read(region_2018.DATA_OFFSET[0], 16)
    assert data[8:] == (2).to_bytes(8, "little")
    return int.from_bytes(data[:8], "little")


@pytest.mark.writes_memory
@pytest.mark.parametrize("read_offset", [whole, halves, with_size])
@pytest.mark.parametrize("state", [region_2018.SETUP, region_2018.PRECOPY, region_2018.STOPNCOPY])
def test_the_offset_is_read_between_copied_and_bitmap(tracked, state, read_offset):
    """Later clients of the design read in this order."""
    region = tracked.region
    tracked.write_memory(3 * PAGE - 1, 2)
    region.state = state
    region.set(region_2018.START_ADDR, tracked.IOVA)
    region.set(region_2018.TOTAL, 13)
    assert region.get(region_2018.COPIED) == 13
    offset = read_offset(region)
    assert region.get(region_2018.DATA_SIZE) == 2
    assert region.raw_read(offset, 2) == b"\x0c\0"
    assert everything(tracked) == set()
    # The image is complete as well.
    image = region.drain() if state == region_2018.PRECOPY else b""
    region.state = region_2018.STOPNCOPY
    image += region.drain()
    assert Image.parse(image).build() == image


@pytest.mark.writes_memory
def test_copied_is_read_in_halves(tracked):
    region = tracked.region
    tracked.write_memory(0, 1)
    region.set(region_2018.START_ADDR, tracked.IOVA)
    region.set(region_2018.TOTAL, 5)
    assert region.raw_read(region_2018.COPIED[0], 4) == b"\5\0\0\0"
    assert region.raw_read(region_2018.COPIED[0] + 4, 4) == bytes(4)


@pytest.mark.writes_memory
def test_nothing_runs_before_copied_is_read(tracked, rng):
    region = tracked.region
    content = rng.randbytes(64)
    region.area[:64] = content
    tracked.write_memory(0, 1)
    region.set(region_2018.START_ADDR, tracked.IOVA)
    region.set(region_2018.TOTAL, 16)
    region.get(region_2018.START_ADDR)
    region.get(region_2018.TOTAL)
    assert region.area[:64] == content
    # Another query takes its place; no page was forgotten.
    region.set(region_2018.START_ADDR, tracked.IOVA + PAGE)
    region.set(region_2018.TOTAL, 16)
    assert region.get(region_2018.COPIED) == 0
    assert everything(tracked) == {tracked.IOVA}


@pytest.mark.writes_memory
def test_wrong_queries_change_nothing(tracked):
    region, base = tracked.region, tracked.IOVA
    tracked.write_memory(0, 1)
    region.set(region_2018.START_ADDR, base)
    for start in (1, 2048, 4095, base + 1, (1 << 64) - 1):
        with refused():
            region.set(region_2018.START_ADDR, start)
    assert region.get(region_2018.START_ADDR) == base
    for total in (0, PAGES_OF_SPACE, PAGES_OF_SPACE - base // PAGE + 1, 1 << 63, (1 << 64) - 1):
        with refused():
            region.set(region_2018.TOTAL, total)
        assert region.get(region_2018.TOTAL) == 0
    region.set(region_2018.TOTAL, PAGES_OF_SPACE - base // PAGE)
    assert region.get(region_2018.COPIED) == region.data_size * 8
    assert region.area[:1] == b"\1"


@pytest.mark.writes_memory
def test_the_end_of_the_address_space(tracked):
    region = tracked.region
    region.set(region_2018.START_ADDR, (1 << 64) - PAGE)
    with refused():
        region.set(region_2018.TOTAL, 2)
    region.set(region_2018.TOTAL, 1)
    assert region.get(region_2018.COPIED) == 0


@pytest.mark.parametrize(
    "state",
    [
        region_2018.NONE,
        region_2018.RUNNING,
        region_2018.STOPNCOPY,
        region_2018.RESUME,
        region_2018.RESUME_COMPLETED,
    ],
)
def test_no_query_without_tracking(guest, blank, state):
    guest.region.reach(state, blank)
    guest.region.set(region_2018.START_ADDR, guest.IOVA)
    with refused():
        guest.region.set(region_2018.TOTAL, 1)
    assert (guest.region.get(region_2018.TOTAL), guest.region.get(region_2018.COPIED)) == (0, 0)


@pytest.mark.writes_memory
def test_tracking_ends_with_the_save(tracked):
    for end in (region_2018.RUNNING, region_2018.CANCELLED, region_2018.FAILED):
        tracked.region.state = end
        with refused():
            tracked.region.set(region_2018.TOTAL, 1)
        tracked.region.state = region_2018.SETUP
        tracked.region.set(region_2018.TOTAL, 1)
    tracked.device.reset()
    with refused():
        tracked.region.set(region_2018.TOTAL, 1)


@pytest.mark.edu
def test_a_command_that_did_not_reach_the_device_is_not_reported(tracked):
    """The command is refused for its values, or since memory decoding is off."""
    with refused():
        tracked.edu.start(BUFFER, tracked.IOVA, BUFFER_SIZE + 1, edu.TO_MEMORY)
    assert everything(tracked) == set()
    for register, value in (
        (edu.DMA_SOURCE, BUFFER),
        (edu.DMA_DESTINATION, tracked.IOVA),
        (edu.DMA_COUNT, 8),
    ):
        tracked.edu.write64(register, value)
    tracked.device.enable(0, clear=2)
    with refused(5):
        tracked.edu.write64(edu.DMA_COMMAND, edu.RUN | edu.TO_MEMORY)
    tracked.device.enable(2)
    assert not tracked.edu.read64(edu.DMA_COMMAND) & edu.RUN
    assert everything(tracked) == set()
    # The device ignores commands without the run bit, and those during a transfer.
    tracked.edu.write64(edu.DMA_COMMAND, edu.TO_MEMORY)
    assert everything(tracked) == set()
    tracked.start_to_memory(1, 8)
    tracked.start_to_memory(2, 8)
    tracked.edu.wait_transfer()
    assert everything(tracked) == {tracked.IOVA + PAGE}


@pytest.fixture
def small_section(bdfs):
    """The modules with the smallest data section: bitmaps of 32768 pages, images of two buffers."""
    modules.reload(bdfs, data_section_kib=4)
    yield bdfs
    modules.reload(bdfs)


@pytest.mark.edu
def test_ranges_larger_than_the_section(small_section, rng):
    with Guest(small_section[0]) as guest:
        region = guest.region
        assert (region.data_size, region.info.size) == (4096, 8192)
        window = 4096 * 8 * PAGE
        guest.device.map(guest.memory, window + guest.IOVA)
        guest.fill(b"\1" * 16)
        region.state = region_2018.SETUP
        for iova in (guest.IOVA, window + guest.IOVA + 5 * PAGE):
            guest.edu.to_memory(iova, 16)
        # The first query covers one of the pages, the second the other.
        region.set(region_2018.START_ADDR, 0)
        region.set(region_2018.TOTAL, 1 << 16)
        assert region.get(region_2018.COPIED) == 4096 * 8
        region.set(region_2018.START_ADDR, window)
        region.set(region_2018.TOTAL, 1 << 15)
        assert region.get(region_2018.COPIED) == 1 << 15
        # The query covers the page after the range's first window, although no bit is set.
        guest.edu.to_memory(window + guest.IOVA, 16)
        region.set(region_2018.START_ADDR, 0)
        region.set(region_2018.TOTAL, 1 << 16)
        assert region.get(region_2018.COPIED) == 4096 * 8
        assert not any(region.area[:])
        guest.write_memory(0, 16)
        assert region.dirty(0, 1 << 16) == {guest.IOVA, window + guest.IOVA}
        assert region.dirty(0, 1 << 16) == set()
        # The image, too, is larger than the section.
        region.state = region_2018.CANCELLED
        guest.fill(rng.randbytes(BUFFER_SIZE))
        expected = guest.state()
        image = region.save()
        assert len(image) > region.data_size
        region.state = region_2018.RUNNING
        guest.device.reset()
        region.load(image)
        assert guest.state() == expected
