# SPDX-License-Identifier: GPL-2.0-only
"""What a virtual machine with one edu device is to the kernel."""

import os
import signal

from devices.edu import BUFFER_SIZE, Edu
from lib.protocols.region_2018 import PAGE, Region2018
from lib.vfio import Device, Memory


class Guest:
    """An open device, its registers, its migration region, and memory for DMA at IOVA.

    The last page of the memory is used by `fill` and `buffer`.
    """

    IOVA = 0x100000

    def __init__(self, bdf, size=1 << 20, use_mmap=True, space=None):
        self.device = Device(bdf, space)
        try:
            self.edu = Edu(self.device)
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

    def fill(self, content, at=0):
        """Writes to the device's internal buffer."""
        self.memory.bytes[self.scratch : self.scratch + len(content)] = content
        self.edu.to_device(self.IOVA + self.scratch, len(content), at)

    def buffer(self):
        """Returns the internal buffer; changes the DMA registers."""
        self.edu.to_memory(self.IOVA + self.scratch)
        return self.memory.bytes[self.scratch : self.scratch + BUFFER_SIZE]

    def changed(self):
        """Returns the addresses of the memory's pages that are not zero, and zeroes them."""
        pages = set()
        for at in range(0, self.memory.size, PAGE):
            if self.memory.bytes[at : at + PAGE] != bytes(PAGE):
                pages.add(self.IOVA + at)
                self.memory.bytes[at : at + PAGE] = bytes(PAGE)
        return pages


class Client:
    """A process that opens a device, does something with it, and waits to be killed."""

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
