# SPDX-License-Identifier: GPL-2.0-only
"""Several virtual devices on one physical device: none sees another, none waits for ever."""

import os
import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import mediated
from lib.clients import Client
from lib.protocols import v2
from lib.userfault import lazy_memory
from lib.vfio import MSI, EventFd

# The seconds of load in which shares are counted.
LOAD = float(os.environ.get("RVFIO_LOAD_SECONDS", "20"))


def side_by_side(guests, action):
    """Calls `action` with each guest and its number, all at once; returns the results."""
    results, errors = [None] * len(guests), []

    def run(number, guest):
        try:
            results[number] = action(guest, number)
        except Exception as error:  # pylint: disable=broad-exception-caught
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(number, guest)) for number, guest in enumerate(guests)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return results


def test_every_one_gets_its_own_answers(guests):
    """Eight guests compute and move data at once, each with results that differ."""

    def work(guest, number):
        content = bytes([number + 1]) * BUFFER_SIZE
        for turn in range(3):
            at = 512 * turn
            guest.fill(content[: 512 * (turn + 1)], at=0)
            assert guest.edu.factorial(number + 4) == fact(number + 4)
            assert guest.buffer()[: 512 * (turn + 1)] == content[: 512 * (turn + 1)]
            guest.edu.write32(edu.LIVENESS, number + at)
            assert guest.edu.read32(edu.LIVENESS) == ~(number + at) & 0xFFFFFFFF

    side_by_side(guests, work)


def fact(n):
    return n * fact(n - 1) if n > 1 else 1


def test_nothing_of_another_is_seen(guests, rng):
    """One device is used; registers, buffers and interrupts of the other seven do not change."""
    busy, *others = guests
    states = [guest.state() for guest in others]
    with EventFd() as event:
        for guest in others:
            guest.device.set_irq(MSI, event.fd)
        busy.furnish(rng)
        busy.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
        busy.edu.factorial(9)
        busy.edu.to_memory(busy.IOVA, command=edu.DMA_INTERRUPT)
        assert event.take() == 0
        assert [guest.state() for guest in others] == states
        for guest in others:
            assert guest.buffer() == bytes(BUFFER_SIZE)


def test_a_new_one_finds_nothing_of_the_last(parent, rng):
    name = mediated.create(parent, 1)
    with Client(name) as guest:
        guest.furnish(rng)
    mediated.remove(name)
    name = mediated.create(parent, 1)
    with Client(name) as guest:
        guest.is_fresh()


@pytest.mark.hang(600)
def test_transfers_are_shared_fairly(guests):
    """No virtual device gets less than half of its share under load.

    One device leaves no gap between its commands; the others do.
    """
    end = time.monotonic() + LOAD

    def load(guest, number):
        done = 0
        while time.monotonic() < end:
            if (done + number) % 2:
                guest.edu.to_device(guest.IOVA, 64)
            else:
                guest.edu.to_memory(guest.IOVA, 64)
            done += 1
            if number:
                time.sleep(0.001 * number)
        return done

    done = side_by_side(guests, load)
    print("transfers of each:", done)
    share = sum(done) / len(done)
    assert min(done) >= share / 2, done
    assert share >= LOAD / 8 / 0.6, "the physical device was idle"


def test_factorials_are_shared_fairly(guests):
    """One guest asks for the longest factorials, without a pause."""
    end = time.monotonic() + min(LOAD, 5)

    def load(guest, number):
        done = 0
        while time.monotonic() < end:
            guest.edu.write32(edu.FACTORIAL, 0xFFFFFFFF if number == 0 else number)
            while guest.edu.read32(edu.STATUS) & edu.COMPUTING:
                pass
            assert guest.edu.read32(edu.FACTORIAL) == (fact(number) if number else 0)
            done += 1
        return done

    done = side_by_side(guests, load)
    print("factorials of each:", done)
    assert min(done) >= sum(done) / len(done) / 2, done


def test_computing_does_not_wait_for_transfers(guests):
    """The units of the physical device work side by side."""
    for guest in guests[1:]:
        guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
    begun = time.monotonic()
    assert guests[0].edu.factorial(6) == 720
    assert time.monotonic() - begun < 0.5
    for guest in guests[1:]:
        guest.edu.wait_transfer()


def test_a_stop_waits_for_its_own_command_alone(guests):
    """The others keep the physical device busy; a device without a command stops at once."""
    for guest in guests[1:]:
        guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
    begun = time.monotonic()
    guests[0].v2.set(v2.STOP)
    assert time.monotonic() - begun < 0.3
    assert guests[7].edu.read64(edu.DMA_COMMAND) & edu.RUN
    guests[0].v2.set(v2.RUNNING)
    # A device that stops has its command served first, wherever that is in the queue.
    guests[7].v2.set(v2.STOP)
    assert not guests[7].edu.read64(edu.DMA_COMMAND) & edu.RUN
    guests[7].v2.set(v2.RUNNING)


def test_a_reset_does_not_wait_for_others(guests):
    """A reset drops commands that the physical device has not begun."""
    for guest in guests:
        guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
    begun = time.monotonic()
    guests[7].device.reset()
    assert time.monotonic() - begun < 0.4
    guests[7].is_fresh()
    for guest in guests[:7]:
        guest.edu.wait_transfer()


@pytest.mark.parametrize("command", [0, edu.TO_MEMORY], ids=["read", "write"])
def test_memory_that_keeps_its_device_waiting(guests, command):
    """A guest whose memory does not come, as in a post-copy, holds up nobody else."""
    slow, *others = guests
    memory, fd = lazy_memory(1 << 20)
    try:
        slow.device.map(memory, 0x4000000)
        if command:
            slow.edu.start(BUFFER, 0x4000000, 64, edu.TO_MEMORY)
        else:
            slow.edu.start(0x4000000, BUFFER, 64, 0)
        time.sleep(0.5)
        begun = time.monotonic()
        for guest in others:
            guest.fill(b"\x77" * 64)
            assert guest.buffer()[:64] == b"\x77" * 64
            assert guest.edu.factorial(5) == 120
        assert slow.edu.read64(edu.DMA_COMMAND) & edu.RUN
        print(f"others took {time.monotonic() - begun:.1f} s")
    finally:
        os.close(fd)
    slow.edu.wait_transfer()
    assert slow.edu.factorial(4) == 24
