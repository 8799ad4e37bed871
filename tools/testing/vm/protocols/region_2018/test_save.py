# SPDX-License-Identifier: GPL-2.0-only
"""Saves: staging and consumption of buffers, pending counts, thresholds."""

import pytest

from devices import edu
from devices.chosen import DEVICE
from devices.edu import BUFFER_SIZE
from devices.edu_image import BUFFER, REGISTERS
from lib.clients import IMAGE
from lib.guest import Guest
from lib.image import Image
from lib.protocols import region_2018



def peek(region):
    """Stages a buffer and returns it without consuming it."""
    assert region.get(region_2018.DATA_OFFSET) == region.data_offset
    return region.data_read(region.get(region_2018.DATA_SIZE))


def test_the_image_is_what_the_format_says(guest, rng):
    guest.randomise(rng)
    data = guest.region.save()
    image = Image.parse(data)
    found = [(section.kind, len(section.payload)) for section in image.sections]
    assert found == [(kind, size) for kind, size, _ in DEVICE.SECTIONS]
    assert image.build() == data
    assert len(data) == IMAGE


def test_a_staged_buffer_stays_until_it_is_consumed(guest, rng):
    region = guest.region
    guest.randomise(rng)
    region.set(region_2018.THRESHOLD, 500)
    for state in (region_2018.SETUP, region_2018.PRECOPY, region_2018.STOPNCOPY):
        region.state = state
        if state == region_2018.SETUP:
            assert region.get(region_2018.DATA_SIZE) == 0
            continue
        seen = []
        while data := peek(region):
            for _ in range(3):
                assert region.get(region_2018.DATA_SIZE) == len(data)
                assert region.get(region_2018.DATA_OFFSET) == region.data_offset
                assert region.raw_read(region_2018.DATA_OFFSET[0], 16) == (
                    region.data_offset.to_bytes(8, "little") + len(data).to_bytes(8, "little")
                )
                region.state  # These reads consume nothing.
                region.get(region_2018.START_ADDR)
                assert region.data_read(len(data)) == data
            assert data not in seen
            seen.append(data)
            region.pending()


def consume_by_pending(region):
    region.get(region_2018.COMPATIBLE)


def consume_by_threshold(region):
    region.get(region_2018.THRESHOLD)


def consume_by_query(region):
    region.set(region_2018.START_ADDR, 0)
    region.set(region_2018.TOTAL, 16)
    assert region.get(region_2018.COPIED) == region.get(region_2018.DATA_SIZE) == 0
    # The buffer was staged before the query, and does not come again.
    region.get(region_2018.COMPATIBLE)


def consume_by_state(region):
    region.state = region.state


@pytest.mark.edu
@pytest.mark.parametrize("consume", [consume_by_pending, consume_by_threshold, consume_by_query,
                                     consume_by_state])
@pytest.mark.parametrize("state", [region_2018.PRECOPY, region_2018.STOPNCOPY])
def test_what_consumes_a_buffer(guest, rng, consume, state):
    region = guest.region
    guest.fill(rng.randbytes(BUFFER_SIZE))
    region.state = region_2018.SETUP
    region.state = region_2018.PRECOPY
    region.state = state
    region.set(region_2018.THRESHOLD, 1000)
    image = b""
    while data := peek(region):
        image += data
        consume(region)
    if state == region_2018.PRECOPY:
        region.state = region_2018.STOPNCOPY
        image += region.drain()
    assert Image.parse(image).build() == image


def test_a_buffer_that_was_not_read_is_in_no_way_lost(guest):
    """The change from PRECOPY to STOPNCOPY consumes the staged buffer, and no more."""
    region = guest.region
    region.state = region_2018.SETUP
    region.state = region_2018.PRECOPY
    region.set(region_2018.THRESHOLD, 100)
    image = peek(region)
    region.state = region_2018.STOPNCOPY
    image += region.drain()
    assert Image.parse(image).build() == image


@pytest.mark.parametrize("use_mmap", [True, False])
@pytest.mark.parametrize("precopy", [True, False])
def test_the_image_is_the_same_for_every_threshold(bdfs, rng, use_mmap, precopy):
    with Guest(bdfs[0], use_mmap=use_mmap) as guest:
        region = guest.region
        guest.randomise(rng)
        expected = region.save()
        region.state = region_2018.RUNNING
        thresholds = (7, 64, 4096, 4097, region.data_size, 1 << 40, (1 << 64) - 1, 0)
        for threshold in thresholds + ((1,) if precopy and use_mmap else ()):
            region.set(region_2018.THRESHOLD, threshold)
            assert region.save(precopy) == expected
            assert region.get(region_2018.THRESHOLD) == threshold
            region.state = region_2018.RUNNING


@pytest.mark.precopy
@pytest.mark.parametrize("threshold", [3, 100, 4096])
def test_no_buffer_is_larger_than_the_threshold(guest, threshold):
    region = guest.region
    region.set(region_2018.THRESHOLD, threshold)
    region.state = region_2018.STOPNCOPY
    sizes = []
    while data := region.get_buffer():
        sizes.append(len(data))
    # Only the last buffer may be smaller.
    assert set(sizes[:-1]) == {threshold}
    assert 0 < sizes[-1] <= threshold
    assert sum(sizes) == IMAGE


@pytest.mark.edu
@pytest.mark.parametrize("precopy", [True, False])
def test_pending_is_exactly_what_is_still_delivered(guest, rng, precopy):
    region = guest.region
    guest.fill(rng.randbytes(BUFFER_SIZE))
    delivered = 0

    def check(running):
        counts = region.pending()
        assert sum(counts) == IMAGE - delivered
        assert counts[1] == 0
        if running:
            # Registers and end are sent after the stop only.
            assert counts[2] == 28 + 56 + 44
        return counts

    assert region.pending() == (0, 0, 0)
    if precopy:
        region.state = region_2018.SETUP
        assert region.pending() == (0, 0, 0)
        region.state = region_2018.PRECOPY
        check(True)
        while True:
            region.set(region_2018.THRESHOLD, rng.randint(1, 700))
            size = len(peek(region))
            delivered += size
            counts = check(True)
            if not size:
                assert counts[0] == 0
                break
    region.state = region_2018.STOPNCOPY
    check(False)
    while delivered < IMAGE:
        region.set(region_2018.THRESHOLD, rng.randint(1, 700))
        delivered += len(peek(region))
        check(False)
    assert region.pending() == (0, 0, 0)
    region.state = region_2018.SAVE_COMPLETED
    assert region.pending() == (0, 0, 0)


@pytest.mark.edu
def test_size_zero_means_nothing_now_or_nothing_more(guest, rng):
    region = guest.region
    region.state = region_2018.SETUP
    region.state = region_2018.PRECOPY
    image = region.drain()
    for _ in range(3):
        assert region.get_buffer() == b""
    content = rng.randbytes(BUFFER_SIZE)
    guest.fill(content)
    # The buffer has changed, so there is something again.
    assert region.pending()[0] == 28 + 4096
    image += region.drain()
    assert region.get_buffer() == b""
    region.state = region_2018.STOPNCOPY
    image += region.drain()
    for _ in range(3):
        assert region.get_buffer() == b""
        assert region.pending() == (0, 0, 0)
    sections = Image.parse(image).sections
    assert [section.kind for section in sections] == [BUFFER, BUFFER, REGISTERS]
    assert [section.payload for section in sections[:2]] == [bytes(BUFFER_SIZE), content]


@pytest.mark.edu
@pytest.mark.physical
def test_nothing_now_while_a_transfer_runs(guest):
    region = guest.region
    region.state = region_2018.SETUP
    guest.start_to_memory()
    region.state = region_2018.PRECOPY
    assert len(region.get_buffer()) == 64
    assert guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
    assert region.get_buffer() == b""
    assert region.pending()[0] == 28 + 4096
    guest.edu.wait_transfer()
    assert len(region.get_buffer()) == 28 + 4096


@pytest.mark.edu
def test_a_transfer_out_of_the_buffer_does_not_make_it_go_again(guest):
    region = guest.region
    region.state = region_2018.SETUP
    region.state = region_2018.PRECOPY
    region.drain()
    guest.start_to_memory()
    guest.edu.wait_transfer()
    assert region.pending()[0] == 0


def test_a_save_can_be_begun_again(guest, rng):
    region = guest.region
    guest.randomise(rng)
    expected = region.save()
    for end in (region_2018.RUNNING, region_2018.CANCELLED, region_2018.FAILED):
        region.state = end
        region.state = region_2018.SETUP
        region.state = region_2018.PRECOPY
        region.set(region_2018.THRESHOLD, 99)
        region.get_buffer()
        region.get_buffer()
        region.state = end
        assert region.save() == expected
