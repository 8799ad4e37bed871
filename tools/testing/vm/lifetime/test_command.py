# SPDX-License-Identifier: GPL-2.0-only
"""The guest switches memory decoding or bus mastering off at each step of a migration."""

import errno
import itertools

import pytest

from devices import edu
from devices.edu import BUFFER, TO_MEMORY
from lib.clients import IMAGE, PROTOCOLS, Client
from lib.errnos import refused
from lib.vfio import COMMAND_MASTER, COMMAND_MEMORY
from lifetime import steps

OFF = {"memory": COMMAND_MEMORY, "master": COMMAND_MASTER, "both": COMMAND_MEMORY | COMMAND_MASTER}
BOTH = COMMAND_MEMORY | COMMAND_MASTER


def commands(guest):
    """Returns the guest's and the hardware's PCI_COMMAND."""
    return guest.device.command(), guest.device.hardware_command()


class Switch:
    """Sets or clears the bits before each step, and asserts that the step leaves them alone."""

    def __init__(self, guest, bits, pattern):
        self.guest = guest
        self.bits = bits
        self.pattern = pattern
        self.before = None

    def flip(self):
        is_off = next(self.pattern)
        self.guest.device.enable(0 if is_off else self.bits, clear=self.bits if is_off else 0)
        self.before = commands(self.guest)
        assert bool(self.before[0] & self.bits) != is_off
        if is_off and self.bits & COMMAND_MEMORY:
            with refused(errno.EIO):
                self.guest.touched()

    def watch(self, migration):
        """Takes all steps of one side; returns their number."""
        number = 0
        while True:
            self.flip()
            if next(migration, None) is None:
                return number
            assert commands(self.guest) == self.before
            number += 1


@pytest.mark.parametrize("first", [0, 1], ids=["even", "odd"])
@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_off_at_every_other_step(bdfs, rng, protocol, off, first):
    with Client(bdfs[0]) as source, Client(bdfs[1]) as target:
        content = source.furnish(rng)
        source.device.enable(BOTH)
        expected = source.state()
        image = bytearray()
        taken = 0
        for guest, migration in (
            (source, steps.SAVE[protocol](source, image)),
            (target, steps.LOAD[protocol](target, image)),
        ):
            pattern = itertools.cycle((bool(first), not first))
            taken += Switch(guest, OFF[off], pattern).watch(migration)
        assert taken > 8 + IMAGE // steps.PIECE
        source.run(protocol)
        for guest in (source, target):
            guest.device.enable(BOTH)
            assert guest.state() == expected
            assert guest.hidden() == content


@pytest.mark.edu
@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_off_during_a_transfer(bdfs, rng, protocol, off):
    """The hardware ends the transfer: it moves what it may, and the buffer is kept."""
    with Client(bdfs[0]) as source, Client(bdfs[1]) as target:
        content = source.furnish(rng)
        source.edu.start(BUFFER, source.IOVA, 4096, TO_MEMORY)
        source.device.enable(0, clear=OFF[off])
        before = commands(source)
        image = source.save(protocol)
        assert commands(source) == before
        target.load(protocol, image)
        expected = bytes(4096) if OFF[off] & COMMAND_MASTER else content
        assert source.memory.bytes[:4096] == expected
        assert target.edu.read64(edu.DMA_COMMAND) == TO_MEMORY
        assert target.buffer() == content
