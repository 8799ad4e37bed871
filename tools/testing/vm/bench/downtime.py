#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Measures for how long a device that migrates keeps its guest stopped.

Runs in the virtual machine. All figures are of one run, in which the cases take turns.

    downtime.py [ROUNDS]
"""

import functools
import random
import statistics
import sys
import time

from devices.edu import BUFFER_SIZE
from lib import modules, mtty
from lib.clone import script
from lib.guest import Guest
from lib.protocols import v2
from lib.qemu import versions
from lib.qemu.machine import MIB, SOCKET, Machine, migrate
from lib.trace_events import trace

ROUNDS = 7
MEMORY = 256 * MIB
SIDES = ("source", "target")

random_bytes = random.Random(3).randbytes


def check(condition, what):
    """Ends the benchmark if a migration did not do what it is measured for."""
    if not condition:
        sys.exit(f"downtime: {what}")


class Rounds:
    """Runs each case once in each round; a case returns figures by name."""

    def __init__(self, rounds, cases):
        self.found = {name: [] for name in cases}
        for number in range(rounds):
            for name, case in cases.items():
                figures = case()
                self.found[name].append(figures)
                shown = ", ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
                print(f"round {number + 1}, {' '.join(name)}: {shown}", flush=True)

    def _all(self, name, figure):
        return [found[figure] for found in self.found[name]]

    def median(self, name, figure):
        return statistics.median(self._all(name, figure))

    def ratio(self, name, peer, figure):
        """Returns the median of the ratios of all rounds: load on the machine slows both cases."""
        pairs = zip(self._all(name, figure), self._all(peer, figure))
        return statistics.median(value / max(1e-3, other) for value, other in pairs)

    def most(self, name, figure):
        return max(self._all(name, figure))


# The driver's part: a client of the v2 protocol, no guest memory, no QEMU.


def driver_part(bdfs, just_used, precopy):
    """Moves the state of one device to another; returns milliseconds and passes of the buffer."""
    with Guest(bdfs[0]) as source, Guest(bdfs[1]) as target, trace() as events:
        out, into = v2.MigrationV2(source.device), v2.MigrationV2(target.device)
        content = random_bytes(BUFFER_SIZE)
        source.fill(content)
        reader, early = None, b""
        if precopy:
            reader = out.set(v2.PRE_COPY)
            early = reader.drain()
        writer = into.set(v2.RESUMING)
        writer.write(early)
        if just_used:
            content = random_bytes(BUFFER_SIZE)
            source.fill(content)
        before = len(events())

        begun = time.monotonic()
        began = out.set(v2.STOP_COPY)
        reader = reader or began
        late = reader.drain()
        sent = time.monotonic()
        writer.write(late)
        into.set(v2.RUNNING)
        runs = time.monotonic()

        found = events()
        reader.close()
        writer.close()
        check(target.buffer() == content, "the buffer was lost")
    return {
        "source": (sent - begun) * 1e3,
        "target": (runs - sent) * 1e3,
        "source passes": len(found.private_dma(bdfs[0], since=before)),
        "target passes": len(found.private_dma(bdfs[1], since=before)),
    }


def print_driver_part(bdfs, rounds):
    buffers = {"idle": False, "just used": True}
    ways = {"without pre-copy": False, "with pre-copy": True}
    cases = {
        (buffer, way): functools.partial(driver_part, bdfs, buffers[buffer], ways[way])
        for buffer in buffers
        for way in ways
    }
    result = Rounds(rounds, cases)
    print(
        "\nThe driver's part of the downtime, one edu, by its v2 data file. In ms, medians."
        "\n'passes' are transfers of the internal buffer while the guest is stopped; each takes"
        "\nthe device 100 ms.\n"
    )
    print(f"{'pre-copy:':40}{'without':>9}{'with':>8}{'ratio':>8}{'without':>9}{'with':>6}")
    print(f"{'buffer':10}{'part':30}{'ms':>9}{'ms':>8}{'':8}{'passes':>9}{'':6}")
    for buffer in buffers:
        for side, part in (
            ("source", "source, SET_STATE to last byte"),
            ("target", "target, first byte to RUNNING"),
        ):
            pair = [(buffer, way) for way in ways]
            times = [result.median(case, side) for case in pair]
            passes = [result.most(case, f"{side} passes") for case in pair]
            print(
                f"{buffer:10}{part:30}{times[0]:9.2f}{times[1]:8.2f}"
                f"{result.ratio(*reversed(pair), side):8.3f}{passes[0]:9}{passes[1]:6}"
            )
    passes = [result.most(("idle", "with pre-copy"), f"{side} passes") for side in SIDES]
    check(passes == [0, 0], "with pre-copy the driver's part has a wait of 100 ms")


# QEMU's own figures.


def qemu(places, version, properties=(), used=False, capabilities=()):
    """Migrates a guest; returns what QEMU says in milliseconds, and passes of the buffer.

    With `used` the device is an edu, whose buffer the guest has used.
    """
    source = Machine(places[:1], version, memory=MEMORY, properties=properties)
    target = Machine(places[1:], version, incoming=True, memory=MEMORY, properties=properties)
    try:
        content = random_bytes(BUFFER_SIZE)
        if used:
            source.enable()
            source.driver.fill(content)
        for name in capabilities:
            source.capability(name, True)
            target.capability(name, True)
        with trace() as events:
            info = migrate(source, target, SOCKET)
            found = events()
        passes = 0
        if used:
            check(target.driver.buffer() == content, "the buffer was lost")
            stopped = min(
                number
                for number, event in enumerate(found)
                if event.bdf == places[0]
                and event.name == "state"
                and event.text.endswith(("to=RUNNING_P2P", "to=PRE_COPY_P2P", "to=STOP_COPY"))
            )
            runs = found.first(places[1], "state", "to=RUNNING")
            passes = len(found.private_dma(*places, since=stopped, until=runs))
        return {"total": info["total-time"], "downtime": info["downtime"], "passes": passes}
    finally:
        source.close()
        target.close()


def print_qemu(bdfs, rounds):
    versions.prepare()
    eleven, seven = versions.QEMU_11, versions.QEMU_7
    ack = ("switchover-ack",)
    with mtty.devices(2) as mttys:
        peer = ("QEMU 11", "mtty")
        cases = {
            peer: functools.partial(qemu, mttys, eleven, mtty.PROPERTIES),
            ("QEMU 11", "edu"): functools.partial(qemu, bdfs, eleven, used=True),
            ("QEMU 11", "edu, switchover-ack"): functools.partial(
                qemu, bdfs, eleven, used=True, capabilities=ack
            ),
            ("QEMU 7.2", "edu"): functools.partial(qemu, bdfs, seven, used=True),
        }
        result = Rounds(rounds, cases)
    print(
        "\nQEMU's own figures: one device, a guest of 256 MiB that rests; the edu's buffer was"
        "\nused before. In ms, medians; ratios to mtty.\n"
    )
    print(f"{'QEMU':10}{'device':24}{'total':>7}{'ratio':>7}{'downtime':>10}{'ratio':>7}{'passes':>8}")
    for case in cases:
        print(f"{case[0]:10}{case[1]:24}", end="")
        for figure, width in (("total", 7), ("downtime", 10)):
            median, ratio = result.median(case, figure), result.ratio(case, peer, figure)
            print(f"{median:{width}.0f}{ratio:7.2f}", end="")
        print(f"{result.most(case, 'passes'):8}")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    modules.load()
    bdfs = modules.find_devices()[:2]
    for bdf in bdfs:
        script("bind", bdf)
    print_driver_part(bdfs, rounds)
    print_qemu(bdfs, rounds)


main()
