# SPDX-License-Identifier: GPL-2.0-only
"""The whole state moves from one device to the other; the source goes on or is given up."""

import threading

import pytest

from devices import edu
from devices.edu import BUFFER_SIZE
from lib import vfio
from lib.errnos import refused
from lib.guest import Guest
from lib.patience import wait_until
from lib.protocols import region_2018


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("number", range(3))
def test_every_register_and_the_buffer_arrive(bdfs, rng, direction, number):
    first, second = bdfs[::direction]
    with Guest(first) as source, Guest(second) as target:
        # The target was in another state before.
        target.randomise(rng)
        source.randomise(rng)
        expected = source.state()
        target.region.load(source.region.save(precopy=number % 2))
        assert source.region.state == region_2018.SAVE_COMPLETED
        assert target.state() == expected
        loaded = target.hidden()
        # The source goes on and has lost nothing.
        ends = (region_2018.RUNNING, region_2018.FAILED, region_2018.CANCELLED)
        source.region.state = ends[number % 3]
        assert source.state() == expected
        assert source.hidden() == loaded
        assert loaded != Guest.NOTHING or not loaded


@pytest.mark.edu
@pytest.mark.parametrize("operand", [0, 1, 12, 13, 33, 34, 35, 1000, 0x2000000])
def test_factorials(pair, operand):
    source, target = pair
    result = 1
    for factor in range(1, min(operand, 40) + 1):
        result = result * factor & 0xFFFFFFFF
    assert source.edu.factorial(operand) == result
    target.edu.factorial(5)
    target.region.load(source.region.save(precopy=False))
    assert target.edu.read32(edu.FACTORIAL) == result
    assert target.edu.read32(edu.INTERRUPT_STATUS) == 0
    assert target.edu.factorial(4) == 24


@pytest.mark.edu
@pytest.mark.parametrize("status", [0, edu.FACTORIAL_INTERRUPT])
def test_liveness_status_and_interrupt_of_a_computation(pair, status):
    source, target = pair
    target.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT ^ status)
    source.edu.write32(edu.STATUS, status)
    source.touch(0x12345678)
    source.edu.factorial(10)
    expected = source.state()
    assert expected[edu.LIVENESS] == 0xEDCBA987
    target.region.load(source.region.save())
    assert target.state() == expected
    # The device works with this state: bit 7 enables the interrupt.
    target.edu.write32(edu.INTERRUPT_ACKNOWLEDGE, 0xFFFFFFFF)
    target.edu.factorial(3)
    if status:
        wait_until(lambda: target.edu.read32(edu.INTERRUPT_STATUS) == 1)
    else:
        assert target.edu.read32(edu.INTERRUPT_STATUS) == 0


@pytest.mark.edu
def test_command_reads_back_and_can_be_given_again(pair, rng):
    source, target = pair
    content = rng.randbytes(BUFFER_SIZE)
    source.fill(content)
    for bits in (edu.TO_MEMORY, edu.TO_MEMORY | edu.DMA_INTERRUPT):
        source.edu.to_memory(source.IOVA + 0x3000, 256, 100, bits)
        assert source.edu.read64(edu.DMA_COMMAND) == bits
        target.region.load(source.region.save())
        assert target.edu.read64(edu.DMA_COMMAND) == bits
        # The other registers still describe the transfer.
        target.edu.write64(edu.DMA_COMMAND, bits | edu.RUN)
        target.edu.wait_transfer()
        assert target.memory.bytes[0x3000:0x3100] == content[100:356]
        source.region.state = region_2018.RUNNING


@pytest.mark.edu
@pytest.mark.parametrize("index", [vfio.INTX, vfio.MSI])
def test_pending_interrupts_are_raised_again_at_running(pair, index):
    source, target = pair
    for pending in (0x40, 0x80000101):
        source.edu.write32(edu.INTERRUPT_RAISE, pending)
        image = source.region.save()
        with vfio.EventFd() as event:
            target.region.state = region_2018.RESUME
            target.region.set_buffer(image)
            target.device.set_irq(index, event.fd)
            target.region.state = region_2018.RESUME_COMPLETED
            assert event.take() == 0
            target.region.state = region_2018.RUNNING
            wait_until(event.take)
            assert target.edu.read32(edu.INTERRUPT_STATUS) == pending
            target.edu.write32(edu.INTERRUPT_ACKNOWLEDGE, pending)
            assert event.take() == 0
            target.device.clear_irq(index)
        source.region.state = region_2018.CANCELLED
        assert source.edu.read32(edu.INTERRUPT_STATUS) == pending
        source.edu.write32(edu.INTERRUPT_ACKNOWLEDGE, pending)


@pytest.mark.edu
@pytest.mark.parametrize("index", [vfio.INTX, vfio.MSI])
def test_nothing_is_raised_where_nothing_is_pending(pair, index):
    source, target = pair
    source.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
    source.edu.factorial(5)
    source.edu.write32(edu.INTERRUPT_ACKNOWLEDGE, 1)
    target.edu.write32(edu.INTERRUPT_RAISE, 0x77)
    with vfio.EventFd() as event:
        image = source.region.save()
        target.region.state = region_2018.RESUME
        target.device.set_irq(index, event.fd)
        target.region.set_buffer(image)
        target.region.state = region_2018.RESUME_COMPLETED
        target.region.state = region_2018.RUNNING
        assert target.edu.read32(edu.INTERRUPT_STATUS) == 0
        assert event.take() == 0
        target.device.clear_irq(index)


@pytest.mark.edu
def test_interrupts_that_wait_for_running_are_saved_again(bdfs, pair):
    """A device that was loaded and never ran can be saved like any other."""
    source, target = pair
    source.edu.write32(edu.INTERRUPT_RAISE, 0x1200)
    target.region.load(source.region.save(), run=False)
    target.region.state = region_2018.RUNNING
    target.region.state = region_2018.NONE
    image = target.region.save(precopy=False)
    source.device.reset()
    source.region.load(image)
    assert source.edu.read32(edu.INTERRUPT_STATUS) == 0x1200


def test_back_and_forth(pair, rng):
    here, there = pair
    fresh = here.state()
    here.randomise(rng)
    expected = here.state()
    for _ in range(5):
        there.region.load(here.region.save(precopy=rng.getrandbits(1)))
        assert there.state() == expected
        here.region.state = region_2018.RUNNING
        here.device.reset()
        assert here.state() == fresh
        here, there = there, here
    content = here.hidden()
    assert content != Guest.NOTHING or not content


def test_the_guest_works_during_precopy(pair, rng):
    source, target = pair
    region = source.region
    region.state = region_2018.SETUP
    source.touch(1)
    region.state = region_2018.PRECOPY
    image = region.drain()
    source.touch(2)
    content = source.furnish(rng)
    image += region.drain()
    source.touch(3)
    region.state = region_2018.STOPNCOPY
    image += region.drain()
    region.state = region_2018.SAVE_COMPLETED
    expected = source.state()
    target.region.load(image)
    assert target.state() == expected
    assert target.hidden() == content


@pytest.mark.parametrize("end", [region_2018.CANCELLED, region_2018.FAILED, region_2018.RUNNING])
@pytest.mark.parametrize(
    "state",
    [region_2018.SETUP, region_2018.PRECOPY, region_2018.STOPNCOPY, region_2018.SAVE_COMPLETED],
)
def test_a_source_that_gives_up_loses_nothing(guest, rng, state, end):
    guest.furnish(rng)
    region = guest.region
    expected = guest.state()
    if state in (region_2018.SETUP, region_2018.PRECOPY):
        region.state = region_2018.SETUP
    if state != region_2018.SETUP:
        region.state = (
            region_2018.PRECOPY if state == region_2018.PRECOPY else region_2018.STOPNCOPY
        )
        region.set(region_2018.THRESHOLD, 200)
        region.get_buffer()
    if state == region_2018.SAVE_COMPLETED:
        region.drain()
        region.state = region_2018.SAVE_COMPLETED
    region.state = end
    assert region.state == region_2018.RUNNING
    assert guest.state() == expected
    guest.works(rng)


@pytest.mark.parametrize(
    "length, end",
    [
        (0, region_2018.FAILED),
        (1000, region_2018.CANCELLED),
        (4250, region_2018.FAILED),
        (None, region_2018.CANCELLED),
        (None, region_2018.FAILED),
    ],
)
def test_a_target_that_gives_up_is_fresh(pair, rng, length, end):
    source, target = pair
    source.randomise(rng)
    image = source.region.save()
    target.randomise(rng)
    target.region.state = region_2018.RESUME
    target.region.set_buffer(image[:length])
    if length is None:
        target.region.state = region_2018.RESUME_COMPLETED
    target.region.state = end
    target.is_fresh()


def test_two_devices_migrate_at_once(bdfs, rng):
    """One process migrates each device into itself, in a thread of its own."""
    with Guest(bdfs[0]) as first, Guest(bdfs[1]) as second:
        first.randomise(rng)
        second.randomise(rng)
        failed = []

        def cycle(guest, threshold):
            try:
                expected, region = guest.state(), guest.region
                for _ in range(4):
                    region.set(region_2018.THRESHOLD, threshold)
                    image = region.save()
                    region.state = region_2018.RUNNING
                    guest.touch(0)
                    region.load(image)
                    assert guest.state() == expected
            except BaseException as error:  # The test reports it, not the thread.
                failed.append(error)

        threads = [
            threading.Thread(target=cycle, args=work) for work in ((first, 100), (second, 333))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed


def test_save_and_load_at_once(pair, rng):
    """A client passes the image from one device to the other buffer by buffer."""
    source, target = pair
    source.randomise(rng)
    expected = source.state()
    target.region.state = region_2018.RESUME
    source.region.state = region_2018.SETUP
    for state in (region_2018.PRECOPY, region_2018.STOPNCOPY):
        source.region.state = state
        source.region.set(region_2018.THRESHOLD, rng.randint(50, 500))
        while data := source.region.get_buffer():
            target.region.set_buffer(data)
    source.region.state = region_2018.SAVE_COMPLETED
    target.region.state = region_2018.RESUME_COMPLETED
    with refused(16):  # EBUSY: the source is stopped for good.
        source.touch(1)
    target.region.state = region_2018.RUNNING
    assert target.state() == expected
