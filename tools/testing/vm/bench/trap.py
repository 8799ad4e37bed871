#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares register accesses through edu_vfio_pci with those through vfio-pci.

Runs in the virtual machine. Two devices are timed in turn, one with each driver; then they
change drivers, so that differences between the devices cancel out.

    trap.py PROGRAM
"""

import statistics
import subprocess
import sys

from lib import modules
from lib.clone import script

ROUNDS = 6
OURS, STOCK = "edu_vfio_pci", "vfio-pci"

# The upper limits of ratios. A write that goes to the hardware at once has none: it waits for the
# device's lock besides.
AIMS = {"read-liveness": 1.05, "read-dma-source": 1.05, "write-dma-source": 0.9}


def measure(program, ours, stock):
    """Returns the nanoseconds of each kind of access, through our driver and the stock one."""
    for bdf, driver in ((ours, OURS), (stock, STOCK)):
        script("bind", bdf, driver)
    out = subprocess.run([program, ours, stock], check=True, capture_output=True, text=True).stdout
    return {name: [int(time) for time in times] for name, *times in map(str.split, out.splitlines())}


def main():
    (program,) = sys.argv[1:]
    edus = modules.find_devices()[:2]
    for driver in (OURS, STOCK):
        subprocess.run(["modprobe", driver], check=True)
    rounds = [measure(program, *edus[:: (-1) ** turn]) for turn in range(ROUNDS)]
    print(f"{'access':18} {OURS + ' ns':>16} {STOCK + ' ns':>12} {'ratio':>7} {'aim':>6}")
    for access in rounds[0]:
        ours, stock = (statistics.median(one[access][n] for one in rounds) for n in (0, 1))
        ratio = statistics.geometric_mean(one[access][0] / one[access][1] for one in rounds)
        aim = AIMS.get(access)
        verdict = "" if aim is None else f"{aim:6.2f} {'ok' if round(ratio, 2) <= aim else 'missed'}"
        print(f"{access:18} {ours:16.0f} {stock:12.0f} {ratio:7.2f} {verdict}".rstrip())


main()
