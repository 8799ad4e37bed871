# SPDX-License-Identifier: GPL-2.0-only
"""Migration while the device is at work."""

import pathlib

import pytest

from devices.edu import BUFFER, BUFFER_SIZE, DMA_COMMAND, RUN, TO_MEMORY
from lib.qemu import versions
from lib.qemu.machine import migrate
from lib.qemu.steps import at_switchover

pytestmark = pytest.mark.edu

PAGE = 0x300000

PROGRAM = pathlib.Path(__file__).with_name("busy.S")

# The control block of busy.S.
CONTROL = 0x1000
BAR, ROUNDS, ERRORS, ACTIVE = range(CONTROL, CONTROL + 16, 4)


@pytest.mark.parametrize("command", [0, TO_MEMORY], ids=["to_device", "to_memory"])
def test_a_transfer_runs_when_the_guest_stops(source, target, rng, command):
    old, new = rng.randbytes(BUFFER_SIZE), rng.randbytes(BUFFER_SIZE)
    edu = source.driver
    edu.fill(new if command else old)
    source.qtest.write(PAGE, old if command else new)
    with at_switchover(source, target, edu):
        if command:
            edu.start(BUFFER, PAGE, BUFFER_SIZE, command)
        else:
            edu.start(PAGE, BUFFER, BUFFER_SIZE, command)
    assert not target.driver.read64(DMA_COMMAND) & RUN
    assert target.qtest.read(PAGE, BUFFER_SIZE) == new
    assert target.driver.buffer() == new


class BusyGuest:
    """A guest that runs busy.S."""

    def __init__(self, machine):
        self.machine = machine

    def go(self):
        self.machine.enable()
        self.machine.qtest.write32(BAR, self.machine.driver.function.bar)

    def read(self, field):
        return self.machine.qtest.read32(field)

    def wait_rounds(self, count):
        end = self.read(ROUNDS) + count
        self.machine.wait(lambda: self.read(ROUNDS) >= end, f"round {end}")

    def stop(self):
        self.machine.qtest.write32(BAR, 0)
        self.machine.wait(lambda: not self.read(ACTIVE), "the program's end")


def test_a_busy_guest_converges(start):
    """The device is never idle, and the guest checks each of its answers."""
    firmware = versions.assemble(PROGRAM)
    source = start(0, firmware=firmware)
    guest = BusyGuest(source)
    guest.go()
    guest.wait_rounds(3)
    for turn in range(1, 4):
        target = start(turn % 2, incoming=True, firmware=firmware)
        migrate(source, target)
        guest = BusyGuest(target)
        guest.wait_rounds(3)
        assert guest.read(ERRORS) == 0
        source.close()
        source = target
    guest.stop()
    assert guest.read(ERRORS) == 0
    assert source.driver.buffer() == (~(guest.read(ROUNDS) - 1) & 0xFFFFFFFF).to_bytes(
        4, "little"
    ) * (BUFFER_SIZE // 4)
