# SPDX-License-Identifier: GPL-2.0-only
"""Virtual devices: creating and removing them through sysfs."""

import os
import pathlib
import uuid

from devices.chosen import DEVICE

DRIVER = DEVICE.MEDIATED
DEVICES = pathlib.Path("/sys/bus/mdev/devices")

# The types, by the number of virtual devices that share a physical one.
SHARES = (1, 2, 4, 8)

# The parent and the type of each device, to create it again.
_homes = {}


def type_of(bdf, shares):
    """Returns the directory of a type."""
    name = f"{DRIVER}-{shares}"
    return pathlib.Path("/sys/class/mdev_bus") / bdf / "mdev_supported_types" / name


def available(bdf, shares):
    return int((type_of(bdf, shares) / "available_instances").read_text())


def create(bdf, shares, name=None):
    """Creates a virtual device and returns its UUID."""
    name = name or str(uuid.uuid4())
    (type_of(bdf, shares) / "create").write_text(name)
    _homes[name] = (bdf, shares)
    return name


def create_again(name):
    """Creates a virtual device that was there before."""
    create(*_homes[name], name)


def home(name):
    """Returns the parent of a virtual device, and the number of those that may share it."""
    return _homes[name]


def remove(name):
    """Removes a virtual device; waits as long as someone has it open."""
    (DEVICES / name / "remove").write_text("1")


def children(bdf):
    """Returns the UUIDs of a parent's virtual devices."""
    parent = os.path.realpath(f"/sys/bus/pci/devices/{bdf}")
    names = os.listdir(DEVICES) if DEVICES.is_dir() else []
    return [name for name in names if os.path.realpath(DEVICES / name) == f"{parent}/{name}"]


def clear(bdf):
    """Removes all virtual devices of a parent."""
    for name in children(bdf):
        remove(name)
