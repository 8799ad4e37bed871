# SPDX-License-Identifier: GPL-2.0-only
"""A Linux guest uses its device and checks each answer while it is migrated."""

import os
import pathlib

import pytest

from lib.qemu import versions
from qemu import linux_guest
from qemu.linux_machine import LinuxGuest

pytestmark = pytest.mark.edu

# The number of migrations: there and back.
MIGRATIONS = 2

# Beats to wait for before a migration, and while its pre-copy goes on.
BEATS_BETWEEN, BEATS_DURING = 3, 2

# Bytes a second. Pre-copy has some 80 MiB to send, and must not end before the beats.
SLOW = 2 << 20


# The test is slow, so only one QEMU runs it.
@pytest.mark.hang(900)
@pytest.mark.parametrize("version", [versions.QEMU_11], ids=str)
def test_a_linux_guest_goes_on(start, bdfs, tmp_path):
    """No answer is wrong, no interrupt is lost, and the heartbeat has no gap."""
    console = tmp_path / "console"
    console.touch()
    log = pathlib.Path(os.environ.get("RVFIO_ARTEFACTS", tmp_path)) / "heartbeat.log"
    with linux_guest.Heartbeat(console, log) as heartbeat:
        guest = LinuxGuest(start, linux_guest.BUILT, console, heartbeat)
        heartbeat.mark(f"the guest begins, with {bdfs[0]}")
        guest.load(bdfs[0])
        guest.wait_beats(BEATS_BETWEEN)
        for turn in range(1, MIGRATIONS + 1):
            device = turn % 2
            name = f"migration {turn}, to {bdfs[device]},"
            guest.migrate(device, name, BEATS_DURING, SLOW)
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
