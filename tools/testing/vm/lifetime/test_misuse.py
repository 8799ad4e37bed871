# SPDX-License-Identifier: GPL-2.0-only
"""Drivers that do what they must not: the attempts are refused, and nothing breaks.

The drivers are in tools/testing/misuse. They log what they try and the result. scripts/misuse
tries what the compiler must refuse.
"""

import errno
import os
import pathlib
import re
import struct
import uuid

import pytest

from lib import mediated, modules
from lib.vfio import COMMAND_MASTER, PCI_COMMAND, Device

pytestmark = [pytest.mark.edu, pytest.mark.physical]

VARIANT, MDEV = "misuse_vfio_pci", "misuse_mdev"

# Operations that need a user who has the device open.
NEED_AN_OPEN_DEVICE = (
    "check_decoding",
    "guest_read",
    "guest_write",
    "registers",
    "with_private_dma",
    "mark_written",
    "read_memory",
    "check_memory",
)


def attempts(log, driver, when):
    """Returns the results of the attempts in one operation of a driver, since the last call."""
    pattern = re.compile(rf"{driver}: (\w+) in {when}: (-?\d+)$")
    found = filter(None, map(pattern.search, log.take()))
    return {match[1]: int(match[2]) for match in found}


@pytest.fixture
def bdf(functions):
    """A device without a driver; it has none after the test, and the wrong drivers are unloaded."""
    bdf = functions[0]
    if modules.driver_of(bdf):
        modules.unbind(bdf)
    # No driver takes the device when it is loaded.
    pathlib.Path(modules.PCI, "devices", bdf, "driver_override").write_text("\n")
    yield bdf
    if modules.driver_of(bdf):
        modules.unbind(bdf)
    for driver in (VARIANT, MDEV):
        if modules.is_loaded(driver):
            modules.unload(driver)


def test_a_device_that_is_not_open(bdf, log):
    modules.rebind(bdf, VARIANT)
    assert attempts(log, VARIANT, "new") == dict.fromkeys(NEED_AN_OPEN_DEVICE, -errno.ENODEV)

    with Device(bdf) as device:
        # Memory decoding is off while the device is cleared for its user.
        opened = attempts(log, VARIANT, "reset")
        assert set(opened) == set(NEED_AN_OPEN_DEVICE)
        assert opened["registers"] == opened["with_private_dma"] == 0
        device.read(0, 0, 4)
        assert attempts(log, VARIANT, "read") == dict.fromkeys(NEED_AN_OPEN_DEVICE, 0)


def types(bdf):
    """Returns the directory of the type of virtual devices that the wrong driver has."""
    parent = pathlib.Path("/sys/class/mdev_bus", bdf)
    return parent / "mdev_supported_types" / f"{MDEV}-wrong"


def create(bdf):
    """Creates a virtual device on a parent that the wrong driver has."""
    name = str(uuid.uuid4())
    (types(bdf) / "create").write_text(name)
    return name


def test_copies_by_a_thread_of_the_user(bdf, log):
    modules.rebind(bdf, MDEV)
    with Device(create(bdf)) as device:
        device.read(0, 0, 4)
        copies = ("read_memory", "write_memory", "handle")
        assert attempts(log, MDEV, "read") == dict.fromkeys(copies, -errno.EOPNOTSUPP)


def test_a_handle_ends_with_its_user(bdf, log):
    modules.rebind(bdf, MDEV)
    name = create(bdf)

    def led(when):
        return attempts(log, MDEV, when)["handle"] != -errno.ENODEV

    def user_of(name):
        with Device(name) as device:
            device.read(0, 0, 4)
            return led("read")

    assert user_of(name)
    (types(bdf) / "available_instances").read_text()
    assert not led("available")
    # The handle does not work for the next user of the device.
    assert not user_of(name)
    mediated.remove(name)
    assert not led("removed")
    # Nor does it for another device.
    assert not user_of(create(bdf))


def test_a_parent_that_is_never_unregistered(bdf, log):
    modules.load(MDEV)
    assert attempts(log, MDEV, "registered driver") == {"register": -errno.EBUSY}
    modules.rebind(bdf, MDEV)
    assert attempts(log, MDEV, "unregistered driver") == {"parent": -errno.ENODEV}
    name = create(bdf)
    modules.unbind(bdf)
    assert not os.path.exists(mediated.DEVICES / name)
    assert not os.path.exists(f"/sys/class/mdev_bus/{bdf}")

    # The parent can be registered again, also by the right driver.
    modules.rebind(bdf, mediated.DRIVER)
    mediated.remove(mediated.create(bdf, 1))
    modules.rebind(bdf, MDEV)
    create(bdf)


def test_a_driver_that_goes_before_its_parents(bdf):
    modules.rebind(bdf, MDEV)
    name = create(bdf)
    modules.unload(MDEV)
    assert not os.path.exists(mediated.DEVICES / name)
    assert not os.path.exists(f"/sys/bus/mdev/drivers/{MDEV}")
    modules.rebind(bdf, MDEV)
    create(bdf)


def leaked(log, driver):
    """Unloads a driver; returns whether the kernel log reports a leaked registration."""
    log.take()
    modules.unload(driver)
    return any(f"{driver} has leaked" in line for line in log.take())


def test_a_leaked_registration(bdf, log):
    modules.rebind(bdf, VARIANT)
    assert leaked(log, VARIANT)
    assert modules.driver_of(bdf) is None
    assert not os.path.exists(f"/sys/bus/pci/drivers/{VARIANT}")
    assert not os.path.exists(f"/sys/kernel/debug/{VARIANT}")
    modules.rebind(bdf, VARIANT)
    with Device(bdf) as device:
        device.read(0, 0, 4)


@pytest.mark.parametrize("leak", (0, 1))
def test_a_leaked_registration_of_virtual_devices(bdf, log, leak):
    modules.load(MDEV, leak=leak)
    modules.rebind(bdf, MDEV)
    create(bdf)
    assert leaked(log, MDEV) == bool(leak)
    assert not os.path.exists(f"/sys/bus/mdev/drivers/{MDEV}")
    assert not os.path.exists(f"/sys/kernel/debug/{MDEV}")
    modules.rebind(bdf, MDEV)
    create(bdf)


def test_memory_that_is_kept(bdf, log):
    def command():
        with open(f"/sys/bus/pci/devices/{bdf}/config", "rb") as config:
            return struct.unpack_from("H", config.read(64), PCI_COMMAND)[0]

    modules.rebind(bdf, MDEV)
    assert attempts(log, MDEV, "(?:short|long) memory") == {
        "read": -errno.EINVAL,
        "write": -errno.EINVAL,
    }
    assert command() & COMMAND_MASTER
    modules.unbind(bdf)
    assert not command() & COMMAND_MASTER
    modules.rebind(bdf, MDEV)
    assert attempts(log, MDEV, "kept memory") == {
        "read": -errno.ENODEV,
        "write": -errno.ENODEV,
        "dma_address": -errno.ENODEV,
    }
