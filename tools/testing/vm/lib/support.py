# SPDX-License-Identifier: GPL-2.0-only
"""What several tests of the migration region do."""

import os

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib.protocols import region_2018 as m


def reach(region, state, image):
    """Takes a running device to a state; `image` is what is loaded on the way, if it is needed."""
    if state == m.NONE:
        region.state = m.NONE
    elif state in (m.SETUP, m.PRECOPY):
        region.state = m.SETUP
        if state == m.PRECOPY:
            region.state = m.PRECOPY
    elif state in (m.STOPNCOPY, m.SAVE_COMPLETED):
        region.state = m.STOPNCOPY
        if state == m.SAVE_COMPLETED:
            region.drain()
            region.state = m.SAVE_COMPLETED
    elif state in (m.RESUME, m.RESUME_COMPLETED):
        region.state = m.RESUME
        if state == m.RESUME_COMPLETED:
            region.set_buffer(image)
            region.state = m.RESUME_COMPLETED
    assert region.state == state


# States in which the device runs, and those in which it is stopped.
RUNS = (m.RUNNING, m.SETUP, m.PRECOPY)
STOPPED = (m.NONE, m.STOPNCOPY, m.SAVE_COMPLETED, m.RESUME, m.RESUME_COMPLETED)
STATES = tuple(sorted(RUNS + STOPPED))


def works(guest):
    """Asserts that a running device computes, moves data and migrates."""
    assert guest.region.state == m.RUNNING
    assert guest.edu.factorial(6) == 720
    content = os.urandom(64)
    guest.fill(content, at=128)
    assert guest.buffer()[128:192] == content


def is_fresh(guest, buffer=True):
    """Asserts that a running device is as after a reset."""
    assert guest.region.state == m.RUNNING
    assert guest.edu.state() == edu.FRESH
    assert guest.region.pending() == (0, 0, 0)
    assert guest.region.get(m.THRESHOLD) == 0
    if buffer:
        assert guest.buffer() == bytes(BUFFER_SIZE)


def randomise(guest, rng):
    """Brings registers and buffer to a state like that of a guest which is busy."""
    device = guest.edu
    guest.fill(rng.randbytes(BUFFER_SIZE))
    device.write32(edu.STATUS, rng.choice((0, edu.FACTORIAL_INTERRUPT)))
    device.write32(edu.LIVENESS, rng.getrandbits(32))
    device.factorial(rng.choice((0, 1, 2, 12, 13, 20, 33, 34, 35, 100, 5000)))
    device.write32(edu.STATUS, rng.choice((0, edu.FACTORIAL_INTERRUPT)))
    # The last command: its direction and interrupt bit are read back.
    count = rng.randint(1, BUFFER_SIZE)
    command = rng.choice((0, edu.DMA_INTERRUPT))
    if rng.getrandbits(1):
        device.to_memory(guest.IOVA, count, command=command)
    else:
        guest.memory.bytes[:count] = rng.randbytes(count)
        device.to_device(guest.IOVA, count, BUFFER_SIZE - count, command=command)
    for register in (edu.DMA_SOURCE, edu.DMA_DESTINATION, edu.DMA_COUNT):
        device.write64(register, rng.getrandbits(64))
    device.write32(edu.INTERRUPT_ACKNOWLEDGE, rng.getrandbits(32))
    if rng.getrandbits(1):
        device.write32(edu.INTERRUPT_RAISE, rng.getrandbits(32))


def start_to_memory(guest, page=0, count=BUFFER_SIZE):
    """Starts a transfer to a page of the guest's memory and returns at once."""
    guest.edu.start(BUFFER, guest.IOVA + page * m.PAGE, count, edu.TO_MEMORY)
