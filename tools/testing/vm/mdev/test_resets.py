# SPDX-License-Identifier: GPL-2.0-only
"""Resets of the physical device through sysfs, while its virtual devices are at work."""

import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import mediated, modules, resets
from lib.clients import Client

# The number of resets, each at a random time of a command.
ROUNDS = 12


@pytest.fixture
def pair(functions):
    """Two virtual devices, open, on a physical one that its bus can reset."""
    parent = resets.find_resettable()
    before = modules.driver_of(parent)
    modules.rebind(parent, mediated.DRIVER)
    try:
        names = [mediated.create(parent, 2) for _ in range(2)]
        with Client(names[0]) as one, Client(names[1]) as other:
            yield parent, one, other
    finally:
        mediated.clear(parent)
        modules.unbind(parent)
        if before:
            modules.bind(parent, before)


def reset_after(parent, seconds):
    """Resets the physical device after some seconds, in a thread that it returns."""

    def run():
        time.sleep(seconds)
        resets.reset_by_others(parent)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_transfer_moves_what_it_should(pair, rng):
    """Each guest keeps its own buffer, whichever used the physical one before the reset."""
    parent, one, other = pair
    for number in range(ROUNDS):
        mine, theirs = (rng.randbytes(BUFFER_SIZE) for _ in range(2))
        one.fill(mine)
        other.fill(theirs)
        one.memory.bytes[:BUFFER_SIZE] = bytes(BUFFER_SIZE)
        thread = reset_after(parent, 0.25 * number / ROUNDS)
        one.edu.start(BUFFER, one.IOVA, BUFFER_SIZE, edu.TO_MEMORY)
        one.edu.wait_transfer()
        thread.join()
        assert one.memory.bytes[:BUFFER_SIZE] == mine
        assert other.buffer() == theirs


def test_a_factorial_is_that_of_its_operand(pair):
    parent, one, other = pair
    for number in range(ROUNDS):
        assert other.edu.factorial(7) == 5040
        thread = reset_after(parent, 0.02 * number / ROUNDS)
        while thread.is_alive():
            assert one.edu.factorial(5) == 120
        thread.join()
