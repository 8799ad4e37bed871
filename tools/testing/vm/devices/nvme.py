# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's NVMe controller, as the drivers of tools/testing/nvme show it to its user."""

import contextlib
import struct
import time

from lib import modules
from lib.patience import SLOWNESS
from lib.vfio import BAR0_REGION

NVME = ("0x1b36", "0x0010")
FLR, BOTH = "nvme_flr_vfio_pci", "nvme_both_vfio_pci"

CONFIGURATION, STATUS, QUEUE_SIZES, SUBMISSION, COMPLETION = 0x14, 0x1C, 0x24, 0x28, 0x30
DOORBELL = 0x1000
# How often the driver's reset was called, and how often of these after a reset of the function.
RESETS, FUNCTION_RESETS = 0xF00, 0xF04
# Entries of 64 and 16 bytes; enabled.
ENABLED = 6 << 16 | 4 << 20 | 1
IDENTIFY, OF_CONTROLLER = 6, 1
ENTRY, PAGE = 16, 4096


def find():
    """Returns the addresses of all controllers, in order."""
    return modules.find_devices(NVME)


@contextlib.contextmanager
def bound(driver):
    """The addresses of two controllers that a driver has; it is gone afterwards."""
    bdfs = find()[:2]
    assert len(bdfs) == 2, "two NVMe controllers are needed"
    for bdf in bdfs:
        modules.rebind(bdf, driver)
    try:
        yield bdfs
    finally:
        for bdf in bdfs:
            modules.unbind(bdf)
        modules.unload(driver)


class Nvme:
    """Register access through an open VFIO device, or a function of a guest."""

    def __init__(self, device):
        self.device = device

    def read32(self, register):
        return struct.unpack("<I", self.device.read(BAR0_REGION, register, 4))[0]

    def read64(self, register):
        return struct.unpack("<Q", self.device.read(BAR0_REGION, register, 8))[0]

    def write32(self, register, value):
        assert self.device.write(BAR0_REGION, register, struct.pack("<I", value)) == 4

    def write64(self, register, value):
        assert self.device.write(BAR0_REGION, register, struct.pack("<Q", value)) == 8

    def resets(self):
        """Returns the driver's count of resets, and of those after a reset of the function."""
        return self.read32(RESETS), self.read32(FUNCTION_RESETS)

    def state(self):
        return (self.read32(CONFIGURATION), self.read32(QUEUE_SIZES), self.read64(SUBMISSION),
                self.read64(COMPLETION))

    def set_queues(self, submission, completion):
        """Sets the admin queues, of two entries each."""
        self.write32(QUEUE_SIZES, 1 << 16 | 1)
        self.write64(SUBMISSION, submission)
        self.write64(COMPLETION, completion)

    def enable(self):
        self.write32(CONFIGURATION, ENABLED)
        self.wait(lambda: self.read32(STATUS) & 1)

    @staticmethod
    def wait(condition):
        end = time.monotonic() + 10 * SLOWNESS
        while not condition():
            assert time.monotonic() < end, "the controller does not answer"
            time.sleep(0.005)

    def identify(self, memory, iova, page):
        """Has an enabled controller write a page of memory, by its first command.

        The queues are the first two pages of the memory at `iova`.
        """
        command = struct.pack("<BBHIQQQQ", IDENTIFY, 0, 7, 0, 0, 0, iova + page * PAGE, 0)
        command += struct.pack("<I", OF_CONTROLLER)
        memory.bytes[: len(command)] = command
        self.write32(DOORBELL, 1)
        self.wait(lambda: struct.unpack_from("<H", memory.bytes, PAGE + 14)[0] & 1)
        assert struct.unpack_from("<H", memory.bytes, page * PAGE)[0] == 0x1B36
