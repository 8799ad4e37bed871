# SPDX-License-Identifier: GPL-2.0-only
"""The guest puts its device to D3hot, and then resets it, closes it or is killed.

QEMU's edu has no power management. The module fake_pm adds the capability to one: in D3hot the
function answers no access.
"""

import errno
import pathlib
import struct

import pytest

from lib import modules, plug
from lib.clients import Client
from lib.errnos import refused
from lib.protocols import v2
from lib.resets import reset_by_others
from lib.vfio import (
    COMMAND_MASTER,
    COMMAND_MEMORY,
    CONFIG_REGION,
    FEATURE_LOW_POWER_ENTRY,
    FEATURE_LOW_POWER_EXIT,
    FEATURE_SET,
)
from lifetime.victim import Victim

pytestmark = [pytest.mark.edu, pytest.mark.physical]

FAKE = "fake_pm"
STATES = (v2.RUNNING, v2.PRE_COPY, v2.STOP_COPY, v2.STOP, v2.RESUMING)
CAPABILITIES, POWER_MANAGEMENT, CONTROL = 0x34, 1, 4
D0, D3HOT = 0, 3


@pytest.fixture(scope="module", name="fake")
def _fake():
    """The module that makes one device show the capability to a scan of its bus."""
    status, output = modules.run("modprobe", FAKE, "bus=1")
    assert status == 0, f"{output}: build it with scripts/kbuild RVFIO_TESTS=m modules"
    yield
    modules.unload(FAKE)


@pytest.fixture
def bdf(bdfs, fake):  # pylint: disable=unused-argument
    """The device behind the root port with the capability, bound to the driver."""
    assert plug.BDF not in bdfs
    way = plug.Sysfs(None)
    way.remove()
    way.bring_back()
    modules.rebind(plug.BDF)
    yield plug.BDF
    way.remove()
    way.bring_back()


def power_state(bdf=plug.BDF):
    """Returns the kernel's name of the state that the device is in."""
    return pathlib.Path(plug.PCI, "devices", bdf, "power_state").read_text().strip()


def set_power(guest, state):
    """Writes PCI_PM_CTRL, as a guest does."""
    device = guest.device
    at = device.read(CONFIG_REGION, CAPABILITIES, 1)[0]
    while device.read(CONFIG_REGION, at, 1)[0] != POWER_MANAGEMENT:
        at = device.read(CONFIG_REGION, at + 1, 1)[0]
    device.write(CONFIG_REGION, at + CONTROL, struct.pack("H", state))


def sleep(guest):
    set_power(guest, D3HOT)
    assert power_state() == "D3hot"
    with refused(errno.EIO):
        guest.touched()


def is_fresh(guest):
    # Otherwise the kernel suspends the device again whenever nobody accesses it.
    guest.device.feature(FEATURE_SET | FEATURE_LOW_POWER_EXIT)
    assert power_state() == "D0"
    guest.device.enable(COMMAND_MEMORY | COMMAND_MASTER)
    guest.is_fresh()


@pytest.fixture(params=[False, True], ids=["D3hot", "D3hot-and-low-power"])
def asleep(request):
    """Puts a guest's device to sleep, in one of two ways."""

    def asleep(guest):
        sleep(guest)
        if request.param:
            guest.device.feature(FEATURE_SET | FEATURE_LOW_POWER_ENTRY)

    return asleep


@pytest.mark.parametrize("state", STATES)
def test_reset(bdf, asleep, image, rng, state):
    """The reset succeeds, as with vfio-pci, and wakes the device."""
    with Client(bdf) as guest:
        guest.furnish(rng)
        file = guest.v2.reach(state, image[:100])
        asleep(guest)
        guest.device.reset()
        is_fresh(guest)
        if file:
            file.close()
        guest.works(rng)


@pytest.mark.parametrize("state", STATES)
def test_close(bdf, asleep, image, log, rng, state):
    """The close itself clears the device, not only the next open."""
    with Client(bdf) as guest:
        guest.furnish(rng)
        file = guest.v2.reach(state, image[:100])
        asleep(guest)
    assert not [line for line in log.take() if "could not be cleared" in line]
    with Client(bdf) as guest:
        guest.is_fresh()
        guest.works(rng)
    if file:
        file.close()


def test_the_user_is_killed(bdf, asleep, log, rng):
    def live(guest):
        guest.furnish(rng)
        asleep(guest)
        yield "asleep"

    victim = Victim(bdf, live)
    assert victim.step()
    victim.kill()
    assert not [line for line in log.take() if "could not be cleared" in line]
    with Client(bdf) as guest:
        guest.is_fresh()


def test_a_reset_by_others(bdf, asleep, log, rng):
    with Client(bdf) as guest:
        guest.furnish(rng)
        asleep(guest)
        reset_by_others(bdf)
        is_fresh(guest)
        guest.works(rng)
    assert not [line for line in log.take() if "cannot be used" in line]


def test_a_device_that_sleeps_cannot_be_saved(bdf, rng):
    """It can be saved when its guest has woken it; nothing is lost."""
    with Client(bdf) as guest:
        content = guest.furnish(rng)
        before = guest.state()
        sleep(guest)
        with guest.v2.set(v2.PRE_COPY) as file:
            with refused(errno.EIO):
                while file.read():
                    pass
            set_power(guest, D0)
            guest.v2.set(v2.RUNNING)
        guest.device.enable(COMMAND_MEMORY | COMMAND_MASTER)
        assert guest.state() == before
        assert guest.hidden() == content
