# SPDX-License-Identifier: GPL-2.0-only
"""Ways to remove a device from the machine, and to bring it back.

The device is the one behind the first root port; QEMU's name of it is edu2.
"""

import pathlib
import threading
import time

from lib.patience import wait_until

PCI = pathlib.Path("/sys/bus/pci")
PORT, BDF, NAME, BUS = "0000:00:12.0", "0000:01:00.0", "edu2", "rp0"

# The PCI Express capability's id, its Slot Control register, and "power off" there.
EXPRESS, SLOT_CONTROL, POWER_OFF = 0x10, 0x18, 0x400


def is_there(bdf=BDF):
    return (PCI / "devices" / bdf).exists()


class InAWhile(threading.Thread):
    """Runs an action after some seconds; `join` raises what the action raised."""

    def __init__(self, seconds, action, *arguments):
        super().__init__()
        self.seconds, self.action, self.arguments = seconds, action, arguments
        self.failure = None
        self.start()

    def run(self):
        time.sleep(self.seconds)
        try:
            self.action(*self.arguments)
        # The joining thread gets it, whatever it is.
        except BaseException as failure:  # pylint: disable=broad-exception-caught
            self.failure = failure

    def join(self, timeout=None):
        super().join(timeout)
        if self.failure:
            raise self.failure


def power(on):
    """Switches the slot's power. Without it the device no longer answers, and nobody is told."""
    with open(PCI / "devices" / PORT / "config", "r+b", buffering=0) as config:

        def read(offset, size):
            config.seek(offset)
            return int.from_bytes(config.read(size), "little")

        at = read(0x34, 1)
        while read(at, 1) != EXPRESS:
            at = read(at + 1, 1)
        value = read(at + SLOT_CONTROL, 2) & ~POWER_OFF
        config.seek(at + SLOT_CONTROL)
        config.write((value | (0 if on else POWER_OFF)).to_bytes(2, "little"))


class Sysfs:
    """The operator removes the device from the kernel's view."""

    answers = True

    def __init__(self, monitor):
        self.monitor = monitor

    def begin(self):
        """Begins the removal."""

    def remove(self):
        """Removes the device; returns when it is gone, which waits for its user."""
        (PCI / "devices" / BDF / "remove").write_text("1", encoding="ascii")

    def bring_back(self):
        (PCI / "rescan").write_text("1", encoding="ascii")
        wait_until(is_there)


class Unplug(Sysfs):
    """The device is unplugged in the outer machine, which asks the kernel to release it."""

    def begin(self):
        self.monitor.execute("device_del", id=NAME)

    def remove(self):
        wait_until(lambda: not is_there(), 60)
        # QEMU must have noticed as well.
        wait_until(lambda: not self._is_plugged())

    def _is_plugged(self):
        return any(
            one["name"] == NAME
            for one in self.monitor.execute("qom-list", path="/machine/peripheral")
        )

    def bring_back(self):
        self.monitor.execute("device_add", driver="edu", bus=BUS, id=NAME)
        wait_until(is_there)


class Loss(Unplug):
    """The device loses power before it is unplugged."""

    answers = False

    def begin(self):
        power(False)
        super().begin()

    def bring_back(self):
        power(True)
        super().bring_back()


WAYS = (Sysfs, Unplug, Loss)
