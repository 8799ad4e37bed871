# SPDX-License-Identifier: GPL-2.0-only
"""A virtual machine with one device, as the kernel sees it."""

import os
import random
import signal

from devices.chosen import DEVICE
from lib.protocols import region_2018
from lib.protocols.region_2018 import PAGE, Region2018
from lib.vfio import Device, Memory


class Guest(DEVICE.Workload):
    """An open device, its migration region, and memory for DMA at IOVA.

    The last page of the memory is the workload's own.
    """

    IOVA = 0x100000

    def __init__(self, bdf, size=1 << 20, use_mmap=True, space=None):
        self.device = Device(bdf, space)
        try:
            super().__init__(self.device)
            self.region = Region2018(self.device, use_mmap)
            self.memory = Memory(size)
            self.device.map(self.memory, self.IOVA)
            self.scratch = size - PAGE
        except BaseException:
            self.device.close()
            raise

    def close(self):
        self.region.close()
        self.device.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def save(self):
        """Takes the whole image; the device is left stopped."""
        return self.region.save()

    def works(self, rng=random):
        """Asserts that the device runs and does what it is for."""
        assert self.region.state == region_2018.RUNNING
        super().works(rng)

    def is_fresh(self, thorough=True):
        """Asserts that the device runs and is in the state after a reset."""
        assert self.region.state == region_2018.RUNNING
        assert self.region.pending() == (0, 0, 0)
        assert self.region.get(region_2018.THRESHOLD) == 0
        super().is_fresh(thorough)

    def changed(self):
        """Returns the addresses of the memory's pages that are not zero, and zeroes them."""
        pages = set()
        for at in range(0, self.memory.size, PAGE):
            if self.memory.bytes[at : at + PAGE] != bytes(PAGE):
                pages.add(self.IOVA + at)
                self.memory.bytes[at : at + PAGE] = bytes(PAGE)
        return pages


class GuestProcess:
    """A process that opens a device, uses it, and waits to be killed."""

    def __init__(self, bdf, action):
        """Returns when `action`, called with a Guest, has returned in the new process."""
        ready, done = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(ready)
                guest = Guest(bdf)
                action(guest)
                os.write(done, b"1")
                signal.pause()
            finally:
                os._exit(1)
        os.close(done)
        answer = os.read(ready, 1)
        os.close(ready)
        if not answer:
            os.waitpid(self.pid, 0)
            raise AssertionError("the client failed")

    def kill(self):
        """Kills the process and waits until its files are closed."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
