# SPDX-License-Identifier: GPL-2.0-only
"""A virtual machine with one edu device, as the kernel sees it."""

import os
import random
import signal

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE, Edu
from lib.protocols import region_2018
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

    def start_to_memory(self, page=0, count=BUFFER_SIZE):
        """Starts a transfer to a page of the guest's memory and returns at once."""
        self.edu.start(BUFFER, self.IOVA + page * PAGE, count, edu.TO_MEMORY)

    def randomise(self, rng):
        """Brings registers and buffer to the state of a busy guest."""
        device = self.edu
        self.fill(rng.randbytes(BUFFER_SIZE))
        device.write32(edu.STATUS, rng.choice((0, edu.FACTORIAL_INTERRUPT)))
        device.write32(edu.LIVENESS, rng.getrandbits(32))
        device.factorial(rng.choice((0, 1, 2, 12, 13, 20, 33, 34, 35, 100, 5000)))
        device.write32(edu.STATUS, rng.choice((0, edu.FACTORIAL_INTERRUPT)))
        # A guest can read back the direction and the interrupt bit of the last command.
        count = rng.randint(1, BUFFER_SIZE)
        command = rng.choice((0, edu.DMA_INTERRUPT))
        if rng.getrandbits(1):
            device.to_memory(self.IOVA, count, command=command)
        else:
            self.memory.bytes[:count] = rng.randbytes(count)
            device.to_device(self.IOVA, count, BUFFER_SIZE - count, command=command)
        for register in (edu.DMA_SOURCE, edu.DMA_DESTINATION, edu.DMA_COUNT):
            device.write64(register, rng.getrandbits(64))
        device.write32(edu.INTERRUPT_ACKNOWLEDGE, rng.getrandbits(32))
        if rng.getrandbits(1):
            device.write32(edu.INTERRUPT_RAISE, rng.getrandbits(32))

    def works(self, rng=random):
        """Asserts that the running device computes, moves data and migrates."""
        assert self.region.state == region_2018.RUNNING
        assert self.edu.factorial(6) == 720
        content = rng.randbytes(64)
        self.fill(content, at=128)
        assert self.buffer()[128:192] == content

    def is_fresh(self, buffer=True):
        """Asserts that the device runs and is in the state after a reset."""
        assert self.region.state == region_2018.RUNNING
        assert self.edu.state() == edu.FRESH
        assert self.region.pending() == (0, 0, 0)
        assert self.region.get(region_2018.THRESHOLD) == 0
        if buffer:
            assert self.buffer() == bytes(BUFFER_SIZE)

    def mark_writes(self):
        """Fills the internal buffer with a byte other than 0, and zeroes the memory.

        After that `changed` returns each page that the device writes.
        """
        self.fill(b"\x5a" * BUFFER_SIZE)
        self.memory.bytes[:] = bytes(self.memory.size)

    def random_writes(self, rng, rounds=8):
        """Yields which pages three transfers to random places wrote; see `mark_writes`."""
        for _ in range(rounds):
            for _ in range(3):
                count = rng.choice((1, 2, 100, 4095, BUFFER_SIZE, rng.randint(1, BUFFER_SIZE)))
                at = rng.choice((
                    rng.randrange(self.memory.size - BUFFER_SIZE),
                    rng.randrange(200) * PAGE,
                    rng.randrange(1, 200) * PAGE - rng.randint(1, count),
                ))
                self.edu.to_memory(self.IOVA + at, count)
            pages = self.changed()
            assert pages
            yield pages

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
