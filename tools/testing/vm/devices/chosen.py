# SPDX-License-Identifier: GPL-2.0-only
"""The device that the common tests use: RVFIO_DEVICE names its module here, by default `edu`.

Such a module has:

IDS, VARIANT, MEDIATED
    the numbers in sysfs, and the names of the variant driver and of the mediated one, or None
SECTIONS
    the sections of an image that was saved while the device does nothing, in their order: type,
    bytes, and whether a running device has it; tests with the mark `precopy` need such a one
WRITES_MEMORY
    whether the device writes guest memory, without which tests with that mark are left out
DAMAGES
    arguments of lib.proxy.Proxy: damage that the target must notice
Workload
    what a client does with a device that it has open, a base of lib.guest.Guest
GuestDriver
    what the driver in a guest of QEMU does with a device

A test that needs more of a device has the mark of its name. `edu` has the whole of what the tests
use, with its meaning; `sample` has the least.
"""

import importlib
import os

NAME = os.environ.get("RVFIO_DEVICE", "edu")
# Each device has a mark in pytest.ini.
NAMES = ("edu", "sample")

if NAME not in NAMES:
    raise SystemExit(f"RVFIO_DEVICE={NAME}: there are {', '.join(NAMES)}")

DEVICE = importlib.import_module(f"devices.{NAME}")
