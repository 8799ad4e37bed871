# SPDX-License-Identifier: GPL-2.0-only
"""Get buffer: staging, consumption, pending counts, thresholds."""

import pytest

from devices import edu
from devices.edu import BUFFER_SIZE
from lib.guest import Guest
from lib.image import BUFFER, REGISTERS, Image
from lib.protocols import region_2018 as m
from lib.support import randomise, start_to_memory

# Header, buffer section, registers section, end section.
LENGTH = 64 + (28 + 4096) + (28 + 56) + (28 + 16)


def peek(region):
    """Stages a buffer and returns it without consuming it."""
    assert region.get(m.DATA_OFFSET) == region.data_offset
    return region.data_read(region.get(m.DATA_SIZE))


def test_the_image_is_what_the_format_says(guest, rng):
    randomise(guest, rng)
    data = guest.region.save()
    image = Image.parse(data)
    assert [section.kind for section in image.sections] == [BUFFER, REGISTERS]
    assert image.build() == data
    assert len(data) == LENGTH


def test_a_staged_buffer_stays_until_it_is_consumed(guest, rng):
    region = guest.region
    randomise(guest, rng)
    region.set(m.THRESHOLD, 500)
    for state in (m.SETUP, m.PRECOPY, m.STOPNCOPY):
        region.state = state
        if state == m.SETUP:
            assert region.get(m.DATA_SIZE) == 0
            continue
        seen = []
        while data := peek(region):
            for _ in range(3):
                assert region.get(m.DATA_SIZE) == len(data)
                assert region.get(m.DATA_OFFSET) == region.data_offset
                assert region.raw_read(m.DATA_OFFSET[0], 16) == (
                    region.data_offset.to_bytes(8, "little") + len(data).to_bytes(8, "little")
                )
                region.state  # reads do not consume
                region.get(m.START_ADDR)
                assert region.data_read(len(data)) == data
            assert data not in seen
            seen.append(data)
            region.pending()


def consume_by_pending(region):
    region.get(m.COMPATIBLE)


def consume_by_threshold(region):
    region.get(m.THRESHOLD)


def consume_by_query(region):
    region.set(m.START_ADDR, 0)
    region.set(m.TOTAL, 16)
    assert region.get(m.COPIED) == region.get(m.DATA_SIZE) == 0
    # The buffer was staged before the query was armed, and does not come again.
    region.get(m.COMPATIBLE)


def consume_by_state(region):
    region.state = region.state


@pytest.mark.parametrize("consume", [consume_by_pending, consume_by_threshold, consume_by_query,
                                     consume_by_state])
@pytest.mark.parametrize("state", [m.PRECOPY, m.STOPNCOPY])
def test_what_consumes_a_buffer(guest, rng, consume, state):
    region = guest.region
    guest.fill(rng.randbytes(BUFFER_SIZE))
    region.state = m.SETUP
    region.state = m.PRECOPY
    region.state = state
    region.set(m.THRESHOLD, 1000)
    image = b""
    while data := peek(region):
        image += data
        consume(region)
    if state == m.PRECOPY:
        region.state = m.STOPNCOPY
        image += region.drain()
    assert Image.parse(image).build() == image


def test_a_buffer_that_was_not_read_is_in_no_way_lost(guest):
    """Changing from PRECOPY to STOPNCOPY consumes what was staged, and only that."""
    region = guest.region
    region.state = m.SETUP
    region.state = m.PRECOPY
    region.set(m.THRESHOLD, 100)
    image = peek(region)
    region.state = m.STOPNCOPY
    image += region.drain()
    assert Image.parse(image).build() == image


@pytest.mark.parametrize("use_mmap", [True, False])
@pytest.mark.parametrize("precopy", [True, False])
def test_the_image_is_the_same_for_every_threshold(bdfs, rng, use_mmap, precopy):
    with Guest(bdfs[0], use_mmap=use_mmap) as guest:
        region = guest.region
        randomise(guest, rng)
        expected = region.save()
        region.state = m.RUNNING
        thresholds = (7, 64, 4096, 4097, region.data_size, 1 << 40, (1 << 64) - 1, 0)
        for threshold in thresholds + ((1,) if precopy and use_mmap else ()):
            region.set(m.THRESHOLD, threshold)
            assert region.save(precopy) == expected
            assert region.get(m.THRESHOLD) == threshold
            region.state = m.RUNNING


@pytest.mark.parametrize("threshold", [3, 100, 4096])
def test_no_buffer_is_larger_than_the_threshold(guest, threshold):
    region = guest.region
    region.set(m.THRESHOLD, threshold)
    region.state = m.STOPNCOPY
    sizes = []
    while data := region.get_buffer():
        sizes.append(len(data))
    # Only the last one has less than it may have.
    assert set(sizes[:-1]) == {threshold}
    assert 0 < sizes[-1] <= threshold
    assert sum(sizes) == LENGTH


@pytest.mark.parametrize("precopy", [True, False])
def test_pending_is_exactly_what_is_still_delivered(guest, rng, precopy):
    region = guest.region
    guest.fill(rng.randbytes(BUFFER_SIZE))
    delivered = 0

    def check(running):
        counts = region.pending()
        assert sum(counts) == LENGTH - delivered
        assert counts[1] == 0
        if running:
            # Registers and end come after the stop only.
            assert counts[2] == 28 + 56 + 44
        return counts

    assert region.pending() == (0, 0, 0)
    if precopy:
        region.state = m.SETUP
        assert region.pending() == (0, 0, 0)
        region.state = m.PRECOPY
        check(True)
        while True:
            region.set(m.THRESHOLD, rng.randint(1, 700))
            size = len(peek(region))
            delivered += size
            counts = check(True)
            if not size:
                assert counts[0] == 0
                break
    region.state = m.STOPNCOPY
    check(False)
    while delivered < LENGTH:
        region.set(m.THRESHOLD, rng.randint(1, 700))
        delivered += len(peek(region))
        check(False)
    assert region.pending() == (0, 0, 0)
    region.state = m.SAVE_COMPLETED
    assert region.pending() == (0, 0, 0)


def test_size_zero_means_nothing_now_or_nothing_more(guest, rng):
    region = guest.region
    region.state = m.SETUP
    region.state = m.PRECOPY
    image = region.drain()
    for _ in range(3):
        assert region.get_buffer() == b""
    content = rng.randbytes(BUFFER_SIZE)
    guest.fill(content)
    # There is something again: the buffer has changed.
    assert region.pending()[0] == 28 + 4096
    image += region.drain()
    assert region.get_buffer() == b""
    region.state = m.STOPNCOPY
    image += region.drain()
    for _ in range(3):
        assert region.get_buffer() == b""
        assert region.pending() == (0, 0, 0)
    sections = Image.parse(image).sections
    assert [section.kind for section in sections] == [BUFFER, BUFFER, REGISTERS]
    assert [section.payload for section in sections[:2]] == [bytes(BUFFER_SIZE), content]


@pytest.mark.physical
def test_nothing_now_while_a_transfer_runs(guest):
    region = guest.region
    region.state = m.SETUP
    start_to_memory(guest)
    region.state = m.PRECOPY
    assert len(region.get_buffer()) == 64
    assert guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
    assert region.get_buffer() == b""
    assert region.pending()[0] == 28 + 4096
    guest.edu.wait_transfer()
    assert len(region.get_buffer()) == 28 + 4096


def test_a_transfer_out_of_the_buffer_does_not_make_it_go_again(guest):
    region = guest.region
    region.state = m.SETUP
    region.state = m.PRECOPY
    region.drain()
    start_to_memory(guest)
    guest.edu.wait_transfer()
    assert region.pending()[0] == 0


def test_a_save_can_be_begun_again(guest, rng):
    region = guest.region
    randomise(guest, rng)
    expected = region.save()
    for end in (m.RUNNING, m.CANCELLED, m.FAILED):
        region.state = end
        region.state = m.SETUP
        region.state = m.PRECOPY
        region.set(m.THRESHOLD, 99)
        region.get_buffer()
        region.get_buffer()
        region.state = end
        assert region.save() == expected
