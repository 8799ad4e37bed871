# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's edu with the driver of rust/sample, by which a guest can use one register.

devices/chosen.py tells what the common tests use.
"""

import random
import struct

from lib.qemu.pci import Function
from lib.vfio import BAR0_REGION

IDS = ("0x1234", "0x11e8")
VARIANT, MEDIATED = "sample_vfio_pci", None
WRITES_MEMORY = False

SECTIONS = ((1, 4, False),)
DAMAGES = {}

IDENTIFICATION, LIVENESS = 0x00, 0x04


class Registers:
    """Register access through an open VFIO device."""

    def __init__(self, device):
        self.device = device

    def read(self, register):
        return struct.unpack("<I", self.device.read(BAR0_REGION, register, 4))[0]

    def touch(self, value):
        """Changes the register."""
        assert self.device.write(BAR0_REGION, LIVENESS, struct.pack("<I", value)) == 4

    def touched(self):
        """Returns the value that `touch` has written."""
        return self.read(LIVENESS) ^ 0xFFFFFFFF


class Workload:
    """What a client does with a device that it has open."""

    #: What is hidden in a device after a reset: nothing.
    NOTHING = b""

    def __init__(self, device):
        self.registers = Registers(device)
        self.touch = self.registers.touch
        self.touched = self.registers.touched

    def state(self):
        """Returns what the guest sees of the device: the same after a move."""
        return {register: self.registers.read(register) for register in (IDENTIFICATION, LIVENESS)}

    def hidden(self):
        """Returns what `state` does not show."""
        return self.NOTHING

    def randomise(self, rng):
        """Brings the device to the state of a busy guest."""
        self.touch(rng.getrandbits(32))

    def furnish(self, rng):
        """Gives the device a state that is not that after a reset; returns the hidden part."""
        self.touch(rng.getrandbits(31))
        return self.hidden()

    def is_there(self):
        """Asserts that the device answers."""
        assert self.registers.read(IDENTIFICATION) == 0x010000ED

    def read_trapped(self):
        """Reads a register that the driver answers for."""
        self.touched()

    def occupy(self):
        """Has the device begin work that takes a while: it has none."""

    def start_any(self, rng):
        """Has the device begin to read or write memory: it does neither."""

    def works(self, rng=random):
        """Asserts that the running device has its register."""
        value = rng.getrandbits(32)
        self.touch(value)
        assert self.touched() == value

    def is_fresh(self, thorough=True):
        """Asserts that the device is in the state after a reset."""
        del thorough
        assert self.state() == {IDENTIFICATION: 0x010000ED, LIVENESS: 0}


class GuestDriver(Registers):
    """The device's driver in a guest of QEMU."""

    NOTHING = 0xFFFFFFFF

    def __init__(self, qtest, slot):
        super().__init__(Function(qtest, slot))
        self.function = self.device

    def state(self):
        return {LIVENESS: self.read(LIVENESS)}

    def furnish(self, rng):
        """Gives the device a state of its own; returns what `works` needs to find it again."""
        value = rng.getrandbits(31)
        self.touch(value)
        return value

    def works(self, content=NOTHING):
        """Asserts that the device has the state of `furnish`."""
        assert self.touched() == content
