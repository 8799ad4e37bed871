# SPDX-License-Identifier: GPL-2.0-only
"""Reset, open and close leave a device like a fresh one."""

import errno
import pathlib
import struct
import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import vfio
from lib.errnos import refused
from lib.guest import Guest, GuestProcess
from lib.kernel_log import BURST, INTERVAL, KernelLog
from lib.patience import wait_until
from lib.protocols import region_2018


def was_cleared(log):
    """Asserts that the close itself cleared the device, not only the next open."""
    assert not any("could not be cleared" in line for line in log.take())


@pytest.mark.parametrize("state", region_2018.STATES)
def test_reset_from_every_state(guest, blank, rng, state):
    guest.randomise(rng)
    region = guest.region
    region.set(region_2018.THRESHOLD, 5000)
    region.reach(state, blank)
    region.set(region_2018.START_ADDR, 0x1000)
    guest.device.reset()
    assert region.get(region_2018.START_ADDR) == 0
    assert (region.get(region_2018.DATA_OFFSET), region.get(region_2018.DATA_SIZE)) == (4096, 0)
    guest.is_fresh()


def test_reset_in_the_middle_of_a_save_and_of_a_load(guest, rng):
    region = guest.region
    guest.randomise(rng)
    region.state = region_2018.STOPNCOPY
    region.set(region_2018.THRESHOLD, 1000)
    image = region.get_buffer()
    guest.device.reset()
    guest.is_fresh(thorough=False)
    region.state = region_2018.RESUME
    region.set_buffer(image)
    guest.device.reset()
    guest.is_fresh()
    # The next load has nothing of the one before.
    image = region.save()
    guest.device.reset()
    region.load(image)


@pytest.mark.edu
def test_reset_waits_for_work_under_way(guest, rng):
    guest.fill(rng.randbytes(BUFFER_SIZE))
    guest.start_to_memory(2)
    guest.device.reset()
    before = guest.memory.bytes[:]
    guest.is_fresh(thorough=False)
    time.sleep(0.2)
    assert guest.memory.bytes[:] == before
    guest.edu.write32(edu.FACTORIAL, 0x8000000)
    guest.device.reset()
    guest.is_fresh()


@pytest.mark.edu
def test_reset_lowers_the_interrupt(guest):
    with vfio.EventFd() as event:
        guest.device.set_irq(vfio.INTX, event.fd)
        guest.edu.write32(edu.INTERRUPT_RAISE, 1)
        wait_until(event.take)
        guest.device.reset()
        assert guest.edu.read32(edu.INTERRUPT_STATUS) == 0
        guest.device.clear_irq(vfio.INTX)
        assert event.take() == 0


@pytest.mark.edu
def test_close_and_open_scrub(bdfs, rng):
    for _ in range(2):
        with Guest(bdfs[0]) as guest:
            guest.is_fresh()
            guest.randomise(rng)
            guest.edu.write32(edu.INTERRUPT_RAISE, 0xF0)
            guest.region.set(region_2018.THRESHOLD, 77)


@pytest.mark.edu
def test_close_with_work_under_way(bdfs, rng):
    with Guest(bdfs[0]) as guest:
        guest.fill(rng.randbytes(BUFFER_SIZE))
        guest.start_to_memory()
    with Guest(bdfs[0]) as guest:
        guest.is_fresh()
        guest.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
        guest.edu.write32(edu.FACTORIAL, 0x8000000)
    with Guest(bdfs[0]) as guest:
        guest.is_fresh()


@pytest.mark.parametrize("state", region_2018.STATES)
def test_close_in_every_state(bdfs, blank, guest, state, rng):
    guest.randomise(rng)
    guest.region.reach(state, blank)
    guest.close()
    with Guest(bdfs[0]) as again:
        again.is_fresh()


@pytest.mark.edu
@pytest.mark.parametrize("state", region_2018.STATES)
def test_a_client_that_is_killed_leaves_nothing(bdfs, log, state):
    """The client is killed in each state, with content in buffer and registers."""
    with Guest(bdfs[0]) as guest:
        image = guest.region.save()

    def act(guest):
        guest.fill(b"\x99" * BUFFER_SIZE)
        guest.touch(0x99)
        guest.edu.write32(edu.INTERRUPT_RAISE, 0x99)
        guest.region.reach(state, image)

    GuestProcess(bdfs[0], act).kill()
    was_cleared(log)
    with Guest(bdfs[0]) as guest:
        guest.is_fresh()


def transfer_out(guest):
    guest.fill(b"\x77" * BUFFER_SIZE)
    guest.start_to_memory()


def transfer_in(guest):
    guest.memory.bytes[:] = b"\x66" * guest.memory.size
    guest.edu.start(guest.IOVA, BUFFER, BUFFER_SIZE, edu.DMA_INTERRUPT)


def compute(guest):
    guest.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
    guest.edu.write32(edu.FACTORIAL, 0x10000000)


def save_in_part(guest):
    guest.fill(b"\x55" * BUFFER_SIZE)
    guest.region.state = region_2018.SETUP
    guest.region.state = region_2018.PRECOPY
    guest.region.set(region_2018.THRESHOLD, 700)
    guest.region.get_buffer()
    guest.region.get(region_2018.DATA_SIZE)
    guest.start_to_memory()


@pytest.mark.edu
@pytest.mark.parametrize("act", [transfer_out, transfer_in, compute, save_in_part])
def test_a_client_that_is_killed_at_work_leaves_nothing(bdfs, log, act):
    GuestProcess(bdfs[0], act).kill()
    was_cleared(log)
    with Guest(bdfs[0]) as guest:
        guest.is_fresh()
        assert guest.edu.read32(edu.INTERRUPT_STATUS) == 0
        guest.works()


@pytest.mark.edu
def test_a_client_that_is_killed_in_the_middle_of_a_call(bdfs, log):
    """SIGKILL comes while a stop waits for a computation."""

    def act(guest):
        guest.edu.write32(edu.FACTORIAL, 0x40000000)
        threading.Thread(
            target=guest.region.set, args=(region_2018.DEVICE_STATE, region_2018.STOPNCOPY)
        ).start()
        time.sleep(0.1)

    begun = time.monotonic()
    GuestProcess(bdfs[0], act).kill()
    was_cleared(log)
    with Guest(bdfs[0]) as guest:
        guest.is_fresh()
    assert time.monotonic() - begun < 20


class Address:
    """The address of BAR 0 in the hardware; a device without it answers no access.

    The device stays awake, since waking it would restore the address.
    """

    BAR0 = 0x10

    def __init__(self, bdf):
        self.path = f"{vfio.sysfs(bdf)}/config"
        self.control = pathlib.Path(f"{vfio.sysfs(bdf)}/power/control")
        self.before = self.control.read_text(encoding="ascii")
        self.control.write_text("on", encoding="ascii")
        with open(self.path, "rb") as config:
            config.seek(self.BAR0)
            self.value = config.read(4)

    def write(self, value):
        with open(self.path, "r+b", buffering=0) as config:
            config.seek(self.BAR0)
            config.write(value)

    def take_away(self):
        self.write(struct.pack("I", 0))

    def bring_back(self):
        self.write(self.value)
        self.control.write_text(self.before, encoding="ascii")


@pytest.mark.physical
@pytest.mark.parametrize("what", ["open", "close"])
def test_opening_and_closing_in_vain_does_not_flood_the_log(bdfs, log, what):
    """A user may do that as often as it likes."""
    message = {"open": "cannot be given to a user", "close": "could not be cleared on close"}[what]
    address = Address(bdfs[0])
    KernelLog.refill()
    log.take()
    begun, rounds = time.monotonic(), 5 * BURST
    try:
        for _ in range(rounds):
            if what == "open":
                address.take_away()
                with refused(errno.ENODEV):
                    Guest(bdfs[0])
            else:
                # vfio-pci restores the address.
                with Guest(bdfs[0]):
                    address.take_away()
    finally:
        address.bring_back()
    seconds = time.monotonic() - begun
    found = sum(message in line for line in log.take())
    assert 0 < found <= BURST * (1 + seconds // INTERVAL)
    with Guest(bdfs[0]) as guest:
        guest.is_fresh()
