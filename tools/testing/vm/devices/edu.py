# SPDX-License-Identifier: GPL-2.0-only
"""The edu device as its guest sees it: see docs/specs/edu.rst of QEMU.

devices/chosen.py tells which of this the common tests use.
"""

import random
import struct

from devices.edu_image import BUFFER_SIZE, DAMAGES, SECTIONS  # pylint: disable=unused-import
from lib.patience import wait_until
from lib.protocols.region_2018 import PAGE
from lib.qemu.pci import Function
from lib.vfio import BAR0_REGION

IDS = ("0x1234", "0x11e8")
VARIANT, MEDIATED = "edu_vfio_pci", "edu_mdev"
WRITES_MEMORY = True

IDENTIFICATION, LIVENESS, FACTORIAL = 0x00, 0x04, 0x08
STATUS, INTERRUPT_STATUS, INTERRUPT_RAISE, INTERRUPT_ACKNOWLEDGE = 0x20, 0x24, 0x60, 0x64
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
COMPUTING, FACTORIAL_INTERRUPT = 1, 0x80
FACTORIAL_DONE = 1
RUN, TO_MEMORY, DMA_INTERRUPT = 1, 2, 4
BUFFER = 0x40000

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

    def factorial(self, operand):
        """Computes a factorial. If STATUS asks for its interrupt, that is raised on return."""
        interrupt = self.read32(STATUS) & FACTORIAL_INTERRUPT
        self.write32(FACTORIAL, operand)
        wait_until(lambda: not self.read32(STATUS) & COMPUTING)
        if interrupt:
            # The device raises it a moment after it has cleared COMPUTING.
            wait_until(lambda: self.read32(INTERRUPT_STATUS) & FACTORIAL_DONE)
        return self.read32(FACTORIAL)

    def start(self, source, destination, count, command):
        self.write64(DMA_SOURCE, source)
        self.write64(DMA_DESTINATION, destination)
        self.write64(DMA_COUNT, count)
        self.write64(DMA_COMMAND, command | RUN)

    def wait_transfer(self):
        wait_until(lambda: not self.read64(DMA_COMMAND) & RUN)

    def to_device(self, iova, count=BUFFER_SIZE, at=0, command=0):
        self.start(iova, BUFFER + at, count, command)
        self.wait_transfer()

    def to_memory(self, iova, count=BUFFER_SIZE, at=0, command=0):
        self.start(BUFFER + at, iova, count, command | TO_MEMORY)
        self.wait_transfer()


class Workload:
    """What a client does with an edu that it has open."""

    #: What is hidden in a device after a reset.
    NOTHING = bytes(BUFFER_SIZE)

    def __init__(self, device):
        self.edu = Edu(device)

    def state(self):
        """Returns what the guest sees of the device: the same after a move."""
        return self.edu.state()

    def hidden(self):
        """Returns what `state` does not show, and leaves the registers as they were."""
        before = self.state()
        content = self.buffer()
        for register in (DMA_SOURCE, DMA_DESTINATION, DMA_COUNT):
            self.edu.write64(register, before[register])
        return content

    def touch(self, value):
        """Changes a register in which a write does nothing else."""
        self.edu.write32(LIVENESS, value)

    def touched(self):
        """Returns the value that `touch` has written."""
        return self.edu.read32(LIVENESS) ^ 0xFFFFFFFF

    def read_trapped(self):
        """Reads a register that the driver answers for."""
        self.edu.read64(DMA_COUNT)

    def write_memory(self, at=0, count=BUFFER_SIZE):
        """Has the device write bytes of the guest's memory."""
        self.edu.to_memory(self.IOVA + at, count)

    def is_there(self):
        """Asserts that the device answers."""
        assert self.edu.read32(IDENTIFICATION) == FRESH[IDENTIFICATION]

    def start_any(self, rng):
        """Has the device begin to read or write memory, and returns at once."""
        pair = [BUFFER, self.IOVA]
        to_memory = rng.getrandbits(1)
        count = rng.randint(1, BUFFER_SIZE)
        self.edu.start(*(pair if to_memory else pair[::-1]), count, TO_MEMORY * to_memory)

    def accesses(self):
        """Returns accesses of different kinds to the device, each a function."""
        return (
            lambda: self.edu.write32(FACTORIAL, 5),
            lambda: self.edu.start(BUFFER, self.IOVA, 64, TO_MEMORY),
            lambda: self.edu.read64(DMA_COMMAND),
            lambda: self.edu.read32(STATUS),
        )

    def occupy(self):
        """Has the device begin work that takes a while, writes memory and raises interrupts."""
        self.edu.write32(STATUS, FACTORIAL_INTERRUPT)
        self.edu.write32(FACTORIAL, 3000)
        self.edu.start(BUFFER, self.IOVA, 64, TO_MEMORY | DMA_INTERRUPT)

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
        self.edu.start(BUFFER, self.IOVA + page * PAGE, count, TO_MEMORY)

    def randomise(self, rng):
        """Brings registers and buffer to the state of a busy guest."""
        device = self.edu
        self.fill(rng.randbytes(BUFFER_SIZE))
        device.write32(STATUS, rng.choice((0, FACTORIAL_INTERRUPT)))
        device.write32(LIVENESS, rng.getrandbits(32))
        device.factorial(rng.choice((0, 1, 2, 12, 13, 20, 33, 34, 35, 100, 5000)))
        device.write32(STATUS, rng.choice((0, FACTORIAL_INTERRUPT)))
        # A guest can read back the direction and the interrupt bit of the last command.
        count = rng.randint(1, BUFFER_SIZE)
        command = rng.choice((0, DMA_INTERRUPT))
        if rng.getrandbits(1):
            device.to_memory(self.IOVA, count, command=command)
        else:
            self.memory.bytes[:count] = rng.randbytes(count)
            device.to_device(self.IOVA, count, BUFFER_SIZE - count, command=command)
        for register in (DMA_SOURCE, DMA_DESTINATION, DMA_COUNT):
            device.write64(register, rng.getrandbits(64))
        device.write32(INTERRUPT_ACKNOWLEDGE, rng.getrandbits(32))
        if rng.getrandbits(1):
            device.write32(INTERRUPT_RAISE, rng.getrandbits(32))

    def furnish(self, rng):
        """Fills registers and buffer with content of which little is 0; returns the hidden part."""
        content = rng.randbytes(BUFFER_SIZE)
        self.fill(content)
        self.edu.write32(LIVENESS, rng.getrandbits(32))
        self.edu.factorial(rng.randint(1, 12))
        for register in (DMA_SOURCE, DMA_DESTINATION, DMA_COUNT):
            self.edu.write64(register, rng.getrandbits(64))
        self.edu.write32(INTERRUPT_RAISE, rng.getrandbits(32))
        return content

    def works(self, rng=random):
        """Asserts that the running device computes and moves data."""
        assert self.edu.factorial(6) == 720
        content = rng.randbytes(64)
        self.fill(content, at=128)
        assert self.buffer()[128:192] == content

    def is_fresh(self, thorough=True):
        """Asserts that the device is in the state after a reset."""
        assert self.state() == FRESH
        if thorough:
            assert self.buffer() == self.NOTHING

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


class GuestDriver(Edu):
    """The edu and the guest's memory.

    `fill` and `buffer` use the page at SCRATCH.
    """

    SCRATCH = 0x1F00000
    CAUSE = 0x40

    #: What `furnish` returns for a device after a reset.
    NOTHING = bytes(BUFFER_SIZE)

    def __init__(self, qtest, slot):
        super().__init__(Function(qtest, slot))
        self.function = self.device
        self.memory = qtest
        self.scratch = self.SCRATCH + slot * BUFFER_SIZE

    def fill(self, content):
        """Writes the device's internal buffer."""
        self.memory.write(self.scratch, content)
        self.to_device(self.scratch, len(content))

    def buffer(self):
        """Returns the internal buffer; changes the DMA registers."""
        self.memory.write(self.scratch, bytes(BUFFER_SIZE))
        self.to_memory(self.scratch)
        return self.memory.read(self.scratch, BUFFER_SIZE)

    def touch(self, value):
        """Changes a register in which a write does nothing else."""
        self.write32(LIVENESS, value)

    def touched(self):
        """Returns the value that `touch` has written."""
        return self.read32(LIVENESS) ^ 0xFFFFFFFF

    def write_memory(self, address):
        """Has the device write guest memory; returns what is there then."""
        self.to_memory(address)
        return self.memory.read(address, BUFFER_SIZE)

    def raise_interrupt(self):
        """Makes the device raise an interrupt, which lasts until it is acknowledged."""
        self.write32(INTERRUPT_RAISE, self.CAUSE)

    def has_interrupt(self):
        """Returns whether that interrupt alone is raised."""
        return self.read32(INTERRUPT_STATUS) == self.CAUSE

    def is_busy(self):
        """Returns whether the device moves data."""
        return bool(self.read64(DMA_COMMAND) & RUN)

    def furnish(self, rng):
        """Gives the device a state of its own; returns what `works` needs to find it again."""
        content = rng.randbytes(BUFFER_SIZE)
        self.fill(content)
        return content

    def works(self, content=NOTHING):
        """Asserts that the device does what it is for, and has the state of `furnish`."""
        assert self.factorial(6) == 720
        assert self.buffer() == content
