# SPDX-License-Identifier: GPL-2.0-only
"""Resets of a function through sysfs, which bypass its driver."""

import pathlib

from lib import modules

DEVICES = pathlib.Path(modules.PCI, "devices")


def find_resettable():
    """Returns the address of an edu that its bus can reset: one behind a bridge."""
    for bdf in modules.find_devices():
        if (DEVICES / bdf / "reset").exists():
            return bdf
    raise AssertionError("no function that can be reset by its bus")


def reset_by_others(bdf):
    (DEVICES / bdf / "reset").write_text("1", encoding="ascii")
