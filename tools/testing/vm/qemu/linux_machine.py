# SPDX-License-Identifier: GPL-2.0-only
"""The QEMUs that a Linux guest runs in, one after the other."""

from lib.qemu.machine import ENDED, figures
from qemu.linux_guest import arguments

# Seconds; after a migration the guest is slow until its code is translated again.
PATIENCE = 180


class LinuxGuest:
    """The guest, in the QEMU that has it now."""

    def __init__(self, start, built, console, heartbeat):
        """`start` starts a QEMU, `built` is a directory that linux/Makefile has filled."""
        self.start = start
        self.state = built / "state"
        self.heartbeat = heartbeat
        self.system = arguments(built, console)
        self.machine = None

    def load(self, bdf):
        """Loads the guest that was booted before, and plugs in a device."""
        self.machine = self.start(incoming=True, system=self.system)
        self.machine.migrate_from_file(self.state)
        self.machine.wait_status("paused")
        self.machine.plug(bdf)
        self.machine.cmd("cont")

    def wait_beats(self, count):
        end = self.heartbeat.follow() + count
        self.machine.wait(lambda: self.heartbeat.follow() >= end, f"beat {end}", PATIENCE)

    def migrate(self, device, name, beats, bandwidth):
        """Moves the guest to a new QEMU with that device; the log uses the name for it.

        Pre-copy sends `bandwidth` bytes a second until the guest has made that many beats.
        """
        target = self.start(device, incoming=True, system=self.system)
        self.heartbeat.mark(f"{name} begins")
        self.machine.parameters(max_bandwidth=bandwidth)
        self.machine.migrate_to(target.listen())
        self.wait_beats(beats)
        assert self.machine.migration()["status"] not in ENDED
        self.machine.release()
        self.machine.wait(self._is_over, "the migration's end", PATIENCE)
        info = self.machine.wait_end()
        target.wait_status()
        total, downtime = info["total-time"], info["downtime"]
        self.heartbeat.mark(f"{name} is over: total {total} ms, downtime {downtime} ms")
        figures.append((f"{target.version}, Linux guest", total, downtime))
        self.machine.close()
        self.machine = target
        return info

    def _is_over(self):
        self.heartbeat.follow()
        return self.machine.migration()["status"] in ENDED
