# SPDX-License-Identifier: GPL-2.0-only
"""All who query dirty pages get the same answer: the pages that the device wrote."""

import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib.protocols import region_2018
from lib.vfio import COMMAND_MASTER, Memory

PAGE = region_2018.PAGE
GIB = 1 << 30


@pytest.fixture
def tracked(guest):
    """A device in SETUP, whose writes show in its memory, with the container recording."""
    guest.mark_writes()
    # The container counts single pages once the device has written one.
    guest.write_memory(0, 1)
    guest.changed()
    guest.region.state = region_2018.SETUP
    guest.device.dirty_pages(True)
    return guest


def container(guest, iova, size):
    """Returns the dirty pages of a mapping as the container reports them, and clears them."""
    bitmap = bytearray(size // PAGE // 8)
    guest.device.dirty_bitmap(iova, bitmap)
    return region_2018.pages_of(bitmap, iova, size // PAGE)


def everywhere(guest):
    """Returns the dirty pages of all memory as the region and as the container report them."""
    pages = guest.memory.size // PAGE
    return (guest.region.dirty(guest.IOVA, pages),
            container(guest, guest.IOVA, guest.memory.size))


@pytest.mark.writes_memory
@pytest.mark.container
def test_region_and_container_tell_what_was_written(tracked, rng):
    for written in tracked.random_writes(rng):
        assert everywhere(tracked) == (written, written)
        assert everywhere(tracked) == (set(), set())
    assert tracked.region.dirty(0, 1 << 52) == set()


def look_meanwhile(tracked, page):
    """Starts a transfer to a page; returns what both report before it has ended."""
    for _ in range(20):
        tracked.edu.start(BUFFER, page, 16, edu.TO_MEMORY)
        found = everywhere(tracked)
        if tracked.edu.read64(edu.DMA_COMMAND) & edu.RUN:
            return found
        # A busy machine took longer than the 100 ms of the transfer.
        everywhere(tracked)
    raise AssertionError("the machine is too slow for this test")


# A virtual device writes when its transfer ends, and the container counts it then.
@pytest.mark.edu
@pytest.mark.container
@pytest.mark.physical
def test_a_transfer_under_way_is_told_again_to_both(tracked):
    page = tracked.IOVA + 7 * PAGE
    assert look_meanwhile(tracked, page) == ({page}, {page})
    tracked.edu.wait_transfer()
    assert tracked.changed() == {page}
    assert everywhere(tracked) == ({page}, {page})
    assert everywhere(tracked) == (set(), set())


# A container of virtual devices alone never takes all for dirty.
@pytest.mark.container
@pytest.mark.physical
def test_a_guest_that_does_no_dma(guest):
    """All its memory counts as dirty until its client makes a call, none of it after that."""
    memory = Memory(256 * PAGE)
    guest.device.map(memory, 0)
    guest.device.dirty_pages(True)
    every = {page * PAGE for page in range(256)}
    assert container(guest, 0, memory.size) == every
    assert container(guest, 0, memory.size) == every
    guest.region.state = region_2018.SETUP
    guest.region.state = region_2018.PRECOPY
    # The one page that the driver pinned for this may be reported once.
    assert container(guest, 0, memory.size) <= {0}
    assert container(guest, 0, memory.size) == set()
    assert guest.region.dirty(0, 256) == set()


@pytest.mark.edu
def test_two_threads_unmap_while_pages_are_pinned(guest):
    """Each transfer pins memory twice that a thread may unmap; nobody waits for anybody.

    The device is no bus master and moves nothing, since its memory may be unmapped.
    """
    done, failures, unmapped = threading.Event(), [], [0, 0]
    places = (0, GIB // 8)

    def remap(number):
        memory = Memory(16 * PAGE)
        try:
            while not done.is_set():
                guest.device.map(memory, places[number])
                guest.device.unmap(places[number], memory.size)
                unmapped[number] += 1
        except OSError as error:
            failures.append(error)

    guest.device.enable(0, clear=COMMAND_MASTER)
    threads = [threading.Thread(target=remap, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        # On a busy machine it takes more rounds until each thread gets its turn.
        end = time.monotonic() + 60
        rounds = 0
        while rounds < 40 or (min(unmapped) <= 10 and not failures and time.monotonic() < end):
            guest.edu.start(BUFFER, places[rounds % 2], BUFFER_SIZE, edu.TO_MEMORY)
            rounds += 1
            guest.region.state = region_2018.SETUP
            guest.region.state = region_2018.PRECOPY
            guest.region.state = region_2018.CANCELLED
            guest.edu.wait_transfer()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert min(unmapped) > 10
    assert guest.edu.factorial(5) == 120
