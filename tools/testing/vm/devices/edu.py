# SPDX-License-Identifier: GPL-2.0-only
"""The edu device as its guest sees it: see docs/specs/edu.rst of QEMU."""

import struct
import time

from lib.patience import SLOWNESS
from lib.vfio import BAR0_REGION

IDENTIFICATION, LIVENESS, FACTORIAL = 0x00, 0x04, 0x08
STATUS, INTERRUPT_STATUS, INTERRUPT_RAISE, INTERRUPT_ACKNOWLEDGE = 0x20, 0x24, 0x60, 0x64
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
COMPUTING, FACTORIAL_INTERRUPT = 1, 0x80
FACTORIAL_DONE = 1
RUN, TO_MEMORY, DMA_INTERRUPT = 1, 2, 4
BUFFER, BUFFER_SIZE = 0x40000, 4096

# The registers that make up the state which the guest sees.
STATE_32 = (IDENTIFICATION, LIVENESS, FACTORIAL, STATUS, INTERRUPT_STATUS)
STATE_64 = (DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND)

# The values of these registers after a reset.
FRESH = dict.fromkeys(STATE_32 + STATE_64, 0) | {IDENTIFICATION: 0x010000ED}


class Edu:
    """Register access through an open VFIO device."""

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

    def state(self):
        """Returns the value of each register of the visible state."""
        state = {register: self.read32(register) for register in STATE_32}
        state.update({register: self.read64(register) for register in STATE_64})
        return state

    def wait(self, condition, seconds=20):
        end = time.monotonic() + seconds * SLOWNESS
        while not condition():
            assert time.monotonic() < end, "the device is not ready in time"
            time.sleep(0.005)

    def factorial(self, operand):
        """Computes a factorial. If STATUS asks for its interrupt, that is raised on return."""
        interrupt = self.read32(STATUS) & FACTORIAL_INTERRUPT
        self.write32(FACTORIAL, operand)
        self.wait(lambda: not self.read32(STATUS) & COMPUTING)
        if interrupt:
            # The device raises it a moment after it has cleared COMPUTING.
            self.wait(lambda: self.read32(INTERRUPT_STATUS) & FACTORIAL_DONE)
        return self.read32(FACTORIAL)

    def start(self, source, destination, count, command):
        self.write64(DMA_SOURCE, source)
        self.write64(DMA_DESTINATION, destination)
        self.write64(DMA_COUNT, count)
        self.write64(DMA_COMMAND, command | RUN)

    def wait_transfer(self):
        self.wait(lambda: not self.read64(DMA_COMMAND) & RUN)

    def to_device(self, iova, count=BUFFER_SIZE, at=0, command=0):
        self.start(iova, BUFFER + at, count, command)
        self.wait_transfer()

    def to_memory(self, iova, count=BUFFER_SIZE, at=0, command=0):
        self.start(BUFFER + at, iova, count, command | TO_MEMORY)
        self.wait_transfer()
