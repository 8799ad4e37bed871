#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares virtual edu devices with the kernel's mtty sample.

Runs in the virtual machine; the two take turns. First it times accesses to a trapped register,
then it prints what QEMU says of migrations between two devices of each.

    mdev.py PROGRAM [ROUNDS]
"""

import functools
import pathlib
import statistics
import subprocess
import sys

from lib import mediated, modules, mtty
from lib.qemu import versions
from lib.qemu.machine import MIB, SOCKET, Machine, migrate
from lib.vfio import sysfs

ROUNDS = 20
MEMORY = 256 * MIB

# The upper limit of a ratio.
AIM = 1.0


def trapped(program, ours, peer):
    """Returns the nanoseconds of each kind of access, for our device and the peer's."""
    out = subprocess.run([program, ours, peer, "mtty"], check=True, capture_output=True, text=True)
    return {name: [int(t) for t in times] for name, *times in map(str.split, out.stdout.splitlines())}


def migration(places, properties=()):
    """Migrates a guest without load; returns total time and downtime in milliseconds."""
    source = Machine(places[:1], memory=MEMORY, properties=properties)
    target = Machine(places[1:], incoming=True, memory=MEMORY, properties=properties)
    try:
        info = migrate(source, target, SOCKET)
        return {"total time": info["total-time"], "downtime": info["downtime"]}
    finally:
        target.close()
        source.close()


def middle(values):
    """Returns the mean of the middle half.

    QEMU counts whole milliseconds, and a migration takes one more or less by chance. The median
    is one of the two; the mean of the middle half shows how often each occurs.
    """
    values = sorted(values)
    quarter = len(values) // 4
    return statistics.mean(values[quarter : len(values) - quarter])


def show(what, unit, pairs):
    """Prints the means of the middle half, and that of the ratios with its standard error."""
    ours, peer = (middle(pair[n] for pair in pairs) for n in (0, 1))
    ratios = [one / max(1, other) for one, other in pairs]
    ratio, error = middle(ratios), statistics.stdev(ratios) / len(ratios) ** 0.5
    verdict = "ok" if round(ratio, 2) <= AIM else "missed"
    print(
        f"{what:24} {ours:10.1f} {peer:10.1f} {unit:3}"
        f" {ratio:7.2f} {error:6.3f} {AIM:6.2f} {verdict}"
    )


def main():
    program, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    versions.prepare()
    parent = modules.find_devices()[0]
    modules.rebind(parent, mediated.DRIVER)
    ours = [mediated.create(parent, 2) for _ in range(2)]
    with mtty.devices(2) as peers:
        names = [pathlib.Path(peer).name for peer in peers]
        accesses = [trapped(program, ours[0], names[0]) for _ in range(rounds)]
        cases = (
            functools.partial(migration, [sysfs(name) for name in ours]),
            functools.partial(migration, peers, mtty.PROPERTIES),
        )
        # Each goes first in every other round.
        migrations = [
            [case() for case in cases[:: (-1) ** turn]][:: (-1) ** turn] for turn in range(rounds)
        ]
    print(
        f"{'':24} {mediated.DRIVER:>10} {'mtty':>10} {'':3} {'ratio':>7} {'+-':>6} {'aim':>6}"
    )
    for access in accesses[0]:
        show(f"trapped {access}", "ns", [one[access] for one in accesses])
    for figure in ("total time", "downtime"):
        show(f"migration, {figure}", "ms", [[one[figure] for one in pair] for pair in migrations])


main()
