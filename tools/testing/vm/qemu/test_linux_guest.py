# SPDX-License-Identifier: GPL-2.0-only
"""A Linux guest uses its device and checks each answer while it is migrated."""

import os
import pathlib

import pytest

from lib.qemu import versions
from lib.qemu.machine import ENDED, figures
from qemu import linux_guest

# The number of migrations: there and back.
MIGRATIONS = 2

# Beats to wait for before a migration, and while its pre-copy goes on.
BEATS_BETWEEN, BEATS_DURING = 3, 2

# Seconds; after a migration the guest is slow until its code is translated again.
PATIENCE = 180

# Bytes a second. Pre-copy has some 80 MiB to send, and must not end before the beats.
SLOW = 2 << 20


class LinuxGuest:
    """The guest, in the QEMU that has it now."""

    def __init__(self, start, console, heartbeat):
        self.start = start
        self.heartbeat = heartbeat
        self.system = linux_guest.arguments(linux_guest.BUILT, console)
        self.machine = None

    def load(self, bdf):
        """Loads the guest that was booted before, and plugs in a device."""
        self.machine = self.start(incoming=True, system=self.system)
        self.machine.migrate_from_file(linux_guest.BUILT / "state")
        self.machine.wait_status("paused")
        self.machine.plug(bdf)
        self.machine.cmd("cont")

    def wait_beats(self, count):
        end = self.heartbeat.follow() + count
        self.machine.wait(lambda: self.heartbeat.follow() >= end, f"beat {end}", PATIENCE)

    def migrate(self, device, name):
        """Moves the guest to a new QEMU with that device; the log uses the name for it."""
        target = self.start(device, incoming=True, system=self.system)
        self.heartbeat.mark(f"{name} begins")
        self.machine.parameters(max_bandwidth=SLOW)
        self.machine.migrate_to(target.listen())
        self.wait_beats(BEATS_DURING)
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

    def _is_over(self):
        self.heartbeat.follow()
        return self.machine.migration()["status"] in ENDED


# The test is slow, so only one QEMU runs it.
@pytest.mark.hang(900)
@pytest.mark.parametrize("version", [versions.QEMU_11], ids=str)
def test_a_linux_guest_goes_on(start, bdfs, tmp_path):
    """No answer is wrong, no interrupt is lost, and the heartbeat has no gap."""
    console = tmp_path / "console"
    console.touch()
    log = pathlib.Path(os.environ.get("RVFIO_ARTEFACTS", tmp_path)) / "heartbeat.log"
    with linux_guest.Heartbeat(console, log) as heartbeat:
        guest = LinuxGuest(start, console, heartbeat)
        heartbeat.mark(f"the guest begins, with {bdfs[0]}")
        guest.load(bdfs[0])
        guest.wait_beats(BEATS_BETWEEN)
        for turn in range(1, MIGRATIONS + 1):
            device = turn % 2
            guest.migrate(device, f"migration {turn}, to {bdfs[device]},")
            guest.wait_beats(BEATS_BETWEEN)
        heartbeat.mark("the end")

    beats = heartbeat.beats
    assert not heartbeat.others, "the guest reports errors"
    assert [beat.number for beat in beats] == list(range(1, len(beats) + 1))
    assert {beat.boot for beat in beats} == {beats[0].boot}
    assert all(before.time < after.time for before, after in zip(beats, beats[1:]))
    for beat in beats:
        assert (beat.wrong, beat.lost) == (0, 0), beat
        assert beat.seen == beat.expected == beat.rounds * linux_guest.INTERRUPTS_PER_ROUND, beat
        assert beat.factorials == beat.rounds == beat.number * linux_guest.ROUNDS_PER_BEAT, beat
        assert beat.bytes == beat.rounds * linux_guest.BYTES_PER_ROUND, beat
