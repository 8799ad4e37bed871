# SPDX-License-Identifier: GPL-2.0-only
"""A Linux guest uses its virtual function by its own igbvf, and is migrated meanwhile."""

import contextlib
import dataclasses
import os
import pathlib
import statistics

import pytest

from lib.qemu import machine, versions
from nic import host, linux_guest
from qemu.linux_guest import Heartbeat
from qemu.linux_machine import LinuxGuest

MIGRATES = host.DRIVER != host.STOCK
MOVES = int(os.environ["RVFIO_NIC_MOVES"]) if MIGRATES else 0
# Bytes each way between two migrations.
BETWEEN = 200_000
# Bytes a second, until the guest's heart has beaten.
SLOW = 8 << 20

# With a guest in TCG, QEMU asks for the dirty bitmap of BARs that it has mapped, and fails.
PROPERTIES = ("x-no-mmap=on",)


@pytest.fixture
def start(functions):
    """Starts a QEMU with virtual functions, by number."""
    versions.prepare()
    version = versions.QEMU_11
    if not MIGRATES:
        version = dataclasses.replace(version, migration="enable-migration=off")
    with machine.machines() as started:

        def start_one(*devices, **options):
            bdfs = [functions[number] for number in devices]
            started.append(machine.Machine(bdfs, version, properties=PROPERTIES, **options))
            return started[-1]

        yield start_one


@pytest.fixture
def talk(start, functions, peer, tmp_path):
    """The guest with the first function, a stream to and from it, and pings."""
    linux_guest.give_address(peer.interface)
    console = tmp_path / "console"
    console.touch()
    log = pathlib.Path(os.environ.get("RVFIO_ARTEFACTS", tmp_path)) / "heartbeat.log"
    with Heartbeat(console, log, linux_guest.Beat) as heartbeat, contextlib.ExitStack() as stack:
        guest = LinuxGuest(start, linux_guest.BUILT, console, heartbeat)
        guest.load(functions[0])
        stream = linux_guest.Stream()
        stack.callback(stream.done.set)
        pings = linux_guest.Pings()
        stack.callback(pings.close)
        stream.goes_on(BETWEEN, guest.machine)
        yield guest, stream, pings
        stream.close()
        heartbeat.follow()
        assert heartbeat.others == ["guest: serving"]
        beats = heartbeat.beats
        assert [beat.number for beat in beats] == list(range(1, len(beats) + 1))
        assert {(beat.boot, beat.wrong, beat.connections) for beat in beats} == {
            (beats[0].boot, 0, 1)
        }


@pytest.mark.hang(2000)
def test_streams_and_pings(talk, functions, count):
    """The connection stays over all moves, and every byte is in its place."""
    guest, stream, pings = talk
    gaps, downtimes = [], []
    for turn in range(1, MOVES + 1):
        device = turn % 2
        pings.take_gap()
        info = guest.migrate(device, f"migration {turn}, to {functions[device]},", 1, SLOW)
        stream.goes_on(BETWEEN, guest.machine)
        gaps.append(pings.take_gap())
        downtimes.append(info["downtime"])
    assert pings.answered > 10
    count(f"Linux guest: {MOVES} moves, {stream.received} and {stream.sent} bytes in order,"
          f" {pings.answered} of {pings.sent} pings answered")
    if MOVES:
        count(f"Linux guest: in ms (median, most): downtime {statistics.median(downtimes):.0f},"
              f" {max(downtimes)}; gap between pings {1000 * statistics.median(gaps):.0f},"
              f" {1000 * max(gaps):.0f}")
