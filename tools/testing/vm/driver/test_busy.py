# SPDX-License-Identifier: GPL-2.0-only
"""Stops of a device at work, and what a stopped device does."""

import ctypes
import errno
import signal
import time

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import modules, vfio
from lib.errnos import refused
from lib.guest import Guest
from lib.patience import wait_until
from lib.protocols import region_2018

pytestmark = pytest.mark.edu

# Operands that the device computes for part of a second, for longer, and for seconds.
OPERAND, LONG, LONGER = 0x20000000, 0x40000000, 0xC0000000


@pytest.mark.parametrize("precopy", [True, False])
def test_save_waits_for_a_transfer_to_memory(pair, rng, precopy):
    source, target = pair
    content = rng.randbytes(BUFFER_SIZE)
    source.fill(content)
    source.start_to_memory(5)
    assert source.edu.read64(edu.DMA_COMMAND) & edu.RUN
    image = source.region.save(precopy)
    assert source.memory.bytes[0x5000:0x6000] == content
    target.region.load(image)
    assert target.edu.read64(edu.DMA_COMMAND) == edu.TO_MEMORY
    assert target.buffer() == content


def test_save_waits_for_a_transfer_into_the_buffer(pair, rng):
    source, target = pair
    region = source.region
    region.state = region_2018.SETUP
    region.state = region_2018.PRECOPY
    image = region.drain()
    content = rng.randbytes(BUFFER_SIZE)
    source.memory.bytes[:BUFFER_SIZE] = content
    source.edu.start(source.IOVA, BUFFER, BUFFER_SIZE, edu.DMA_INTERRUPT)
    region.state = region_2018.STOPNCOPY
    image += region.drain()
    region.state = region_2018.SAVE_COMPLETED
    # The interrupt at the end of the transfer is in the image as well.
    target.region.load(image)
    assert target.edu.read32(edu.INTERRUPT_STATUS) == 0x100
    assert target.edu.read64(edu.DMA_COMMAND) == edu.DMA_INTERRUPT
    assert target.buffer() == content


def test_save_waits_for_a_computation(pair):
    source, target = pair
    source.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
    source.edu.factorial(5)

    def computes():
        source.edu.write32(edu.INTERRUPT_ACKNOWLEDGE, 1)
        source.edu.write32(edu.FACTORIAL, OPERAND)
        return source.edu.read32(edu.STATUS) & edu.COMPUTING

    # Again if this process was held up until the device was done.
    wait_until(computes)
    image = source.region.save()
    assert source.edu.read32(edu.FACTORIAL) == 0
    target.region.load(image)
    state = target.state()
    assert state[edu.FACTORIAL] == 0
    assert state[edu.STATUS] == edu.FACTORIAL_INTERRUPT
    assert state[edu.INTERRUPT_STATUS] == 1


def test_the_interrupt_of_a_computation_is_never_lost(guest):
    """Stops come at the moment at which computations end."""
    guest.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
    with vfio.EventFd() as event:
        guest.device.set_irq(vfio.MSI, event.fd)
        for number in range(100):
            guest.edu.write32(edu.FACTORIAL, number * 3000)
            guest.region.state = region_2018.STOPNCOPY
            assert guest.edu.read32(edu.INTERRUPT_STATUS) == 1
            wait_until(event.take)
            guest.region.state = region_2018.RUNNING
            assert guest.edu.read32(edu.INTERRUPT_STATUS) == 1
            guest.edu.write32(edu.INTERRUPT_ACKNOWLEDGE, 1)
        guest.device.clear_irq(vfio.MSI)


@pytest.fixture
def impatient(bdfs):
    """The modules with a time limit of 200 ms for a stop."""
    modules.reload(bdfs, quiesce_timeout_ms=200)
    yield bdfs[0]
    modules.reload(bdfs)


@pytest.mark.physical
def test_a_stop_that_takes_too_long_fails_and_the_device_runs_on(impatient):
    with Guest(impatient) as guest:
        guest.touch(0x55)
        guest.edu.write32(edu.FACTORIAL, LONGER)
        for state in (region_2018.NONE, region_2018.STOPNCOPY, region_2018.RESUME):
            begun = time.monotonic()
            with refused(errno.ETIMEDOUT):
                guest.region.state = state
            assert 0.19 < time.monotonic() - begun < 1.5
            assert guest.region.state == region_2018.RUNNING
            guest.touch(state)
        guest.region.state = region_2018.SETUP
        guest.region.state = region_2018.PRECOPY
        with refused(errno.ETIMEDOUT):
            guest.region.state = region_2018.STOPNCOPY
        assert guest.region.state == region_2018.PRECOPY
        with refused(errno.ETIMEDOUT):
            guest.device.reset()
        assert guest.edu.read32(edu.STATUS) & edu.COMPUTING
        wait_until(lambda: not guest.edu.read32(edu.STATUS) & edu.COMPUTING, 60)
        # The next attempt succeeds.
        guest.region.state = region_2018.STOPNCOPY
        guest.region.drain()
        guest.region.state = region_2018.SAVE_COMPLETED
        guest.region.state = region_2018.RUNNING
        guest.works()




@pytest.mark.physical
def test_a_signal_ends_the_wait_and_the_device_runs_on(guest):
    """The call returns EINTR; Python would repeat it, so the test calls the C library."""
    def interrupt(*_):
        pass

    libc = ctypes.CDLL(None, use_errno=True)
    region = guest.region
    for state in (region_2018.NONE, region_2018.STOPNCOPY):
        guest.edu.write32(edu.FACTORIAL, LONG)
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        begun = time.monotonic()
        result = libc.pwrite(
            guest.device.fd,
            state.to_bytes(4, "little"),
            ctypes.c_size_t(4),
            ctypes.c_long(region.info.offset),
        )
        assert (result, ctypes.get_errno()) == (-1, errno.EINTR)
        assert time.monotonic() - begun < 2
        signal.signal(signal.SIGALRM, before)
        assert region.state == region_2018.RUNNING
        assert guest.edu.read32(edu.STATUS) & edu.COMPUTING
        guest.touch(0x99)
        wait_until(lambda: not guest.edu.read32(edu.STATUS) & edu.COMPUTING, 60)
    guest.works()


REGISTERS = (edu.LIVENESS, edu.FACTORIAL, edu.STATUS, edu.INTERRUPT_RAISE,
             edu.INTERRUPT_ACKNOWLEDGE, 0x10, 0x1000)


@pytest.mark.parametrize("state", region_2018.STOPPED)
def test_a_stopped_device_takes_no_writes(guest, blank, state):
    for pending in (0, 0x10):
        guest.device.reset()
        guest.edu.write32(edu.INTERRUPT_RAISE, pending)
        guest.region.reach(state, blank)
        before = guest.state()
        with vfio.EventFd() as event:
            guest.device.set_irq(vfio.MSI, event.fd)
            for register in REGISTERS:
                with refused(errno.EBUSY):
                    guest.edu.write32(register, 0xFFFFFFFF)
            for register, value in (
                (edu.DMA_SOURCE, BUFFER),
                (edu.DMA_DESTINATION, guest.IOVA),
                (edu.DMA_COUNT, BUFFER_SIZE),
                (edu.DMA_COMMAND, edu.RUN | edu.TO_MEMORY | edu.DMA_INTERRUPT),
            ):
                with refused(errno.EBUSY):
                    guest.edu.write64(register, value)
            time.sleep(0.15)
            assert guest.state() == before
            assert event.take() == 0
            guest.device.clear_irq(vfio.MSI)
        assert not any(guest.memory.bytes[:BUFFER_SIZE])


def test_a_transfer_that_was_set_up_before_does_not_start_by_itself(guest, rng):
    guest.fill(rng.randbytes(BUFFER_SIZE))
    for register, value in (
        (edu.DMA_SOURCE, BUFFER),
        (edu.DMA_DESTINATION, guest.IOVA),
        (edu.DMA_COUNT, BUFFER_SIZE),
    ):
        guest.edu.write64(register, value)
    guest.region.save()
    with refused(errno.EBUSY):
        guest.edu.write64(edu.DMA_COMMAND, edu.RUN | edu.TO_MEMORY)
    guest.region.state = region_2018.RUNNING
    assert not any(guest.memory.bytes[:BUFFER_SIZE])
    guest.edu.write64(edu.DMA_COMMAND, edu.RUN | edu.TO_MEMORY)
    guest.edu.wait_transfer()
    assert any(guest.memory.bytes[:BUFFER_SIZE])


def test_memory_does_not_change_while_stopped(guest, rng):
    """After the stop the client copies what the guest had."""
    guest.fill(rng.randbytes(BUFFER_SIZE))
    guest.start_to_memory(3)
    guest.region.state = region_2018.STOPNCOPY
    before = guest.memory.bytes[:]
    assert any(before[0x3000:0x4000])
    time.sleep(0.25)
    guest.region.drain()
    assert guest.memory.bytes[:] == before
