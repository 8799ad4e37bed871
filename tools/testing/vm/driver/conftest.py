# SPDX-License-Identifier: GPL-2.0-only
"""Devices of which some pages are trapped, by tools/testing/vm/kernel/ranges_vfio_pci.rs."""

import pytest

from devices import edu
from lib import modules
from lib.vfio import Device

RANGES = "ranges_vfio_pci"
IVSHMEM, NVME = ("0x1af4", "0x1110"), ("0x1b36", "0x0010")


@pytest.fixture
def trapping():
    """Opens the first device with the given numbers; afterwards none has the driver."""
    opened = []

    def use(ids):
        bdf = modules.find_devices(ids)[0]
        modules.rebind(bdf, RANGES)
        opened.append(Device(bdf))
        return opened[-1]

    yield use
    for device in opened:
        device.close()
        modules.unbind(device.bdf)
    if modules.is_loaded(RANGES):
        modules.unload(RANGES)


@pytest.fixture
def ivshmem(trapping):
    """A device whose BAR 2 is 8 MiB of memory; two pages around 2 MiB are trapped."""
    return trapping(IVSHMEM)


@pytest.fixture
def nvme(trapping):
    """A device whose BAR 0 has a page of registers, doorbells, an MSI-X table and its PBA.

    The registers and the page of the table are trapped.
    """
    return trapping(NVME)


@pytest.fixture
def ranged_edu(trapping):
    """An edu; the first and the third page are trapped."""
    return trapping(edu.IDS)
