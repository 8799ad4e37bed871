#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares register accesses through edu_vfio_pci with those through vfio-pci.

Runs in the virtual machine. The drivers take turns on the same device, so that
what the machine does meanwhile meets both alike.

    trap.py PROGRAM
"""

import pathlib
import statistics
import subprocess
import sys

ROUNDS = 7
OURS, STOCK = "edu_vfio_pci", "vfio-pci"
SCRIPTS = pathlib.Path(__file__).resolve().parents[4] / "scripts"


def find_edu():
    """Returns the address of an edu device."""
    for device in sorted(pathlib.Path("/sys/bus/pci/devices").iterdir()):
        ids = [(device / name).read_text().strip() for name in ("vendor", "device")]
        if ids == ["0x1234", "0x11e8"]:
            return device.name
    sys.exit("there is no edu device")


def measure(program, bdf, driver):
    """Returns the nanoseconds of a read and of a write."""
    subprocess.run([SCRIPTS / "bind", bdf, driver], check=True, stdout=subprocess.DEVNULL)
    out = subprocess.run([program, bdf], check=True, capture_output=True, text=True).stdout.split()
    return {out[0]: int(out[1]), out[2]: int(out[3])}


def main():
    (program,) = sys.argv[1:]
    bdf = find_edu()
    for driver in (OURS, STOCK):
        subprocess.run(["modprobe", driver], check=True)
    rounds = [{d: measure(program, bdf, d) for d in (OURS, STOCK)} for _ in range(ROUNDS)]
    print(f"{'register':10} {OURS + ' ns':>16} {STOCK + ' ns':>12} {'ratio':>7}")
    for access in ("read", "write"):
        ours, stock = (statistics.median(r[d][access] for r in rounds) for d in (OURS, STOCK))
        ratio = statistics.median(r[OURS][access] / r[STOCK][access] for r in rounds)
        print(f"{access:10} {ours:16.0f} {stock:12.0f} {ratio:7.2f}")


main()
