#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Shows a migration by QEMU of a guest that has an edu, and looks for differences.

    demo.py qemu11|qemu7 SOURCE TARGET

SOURCE and TARGET are addresses of edu devices bound to edu_vfio_pci. The guest has no program; this
one does what a driver in the guest would do. The status is 1 if something was lost.
"""

import random
import sys

from devices.edu import (
    BUFFER_SIZE,
    FACTORIAL_INTERRUPT,
    INTERRUPT_ACKNOWLEDGE,
    INTERRUPT_RAISE,
    INTERRUPT_STATUS,
    LIVENESS,
    STATUS,
)
from lib.qemu import versions
from lib.qemu.machine import MIB, Machine, migrate

MEMORY = 256 * MIB
# Memory that the guest's processor writes, and a page that its device writes.
PATTERN, PATTERN_SIZE, PAGE = 0x200000, MIB, 0x400000
INTERRUPT = 0x40


class Differences:
    """Prints whether something is the same, and remembers any difference."""

    found = False

    def note(self, what, same):
        self.found |= not same
        print(f"  {what}: {'yes' if same else 'NO'}")


def start(machines, what, bdf, version, **options):
    """Starts a QEMU and adds it to the list of those to end."""
    machine = Machine([bdf], version, memory=MEMORY, **options)
    machines.append(machine)
    number = machine.cmd("query-version")["qemu"]
    print(
        f"{what}: QEMU {number['major']}.{number['minor']}.{number['micro']},"
        f" a guest of {MEMORY // MIB} MiB,\n  -device {machine.devices[0]}"
    )


def use(source, rng):
    """Makes the guest use its device; returns what must be there after the migration."""
    content, pattern = rng.randbytes(BUFFER_SIZE), rng.randbytes(PATTERN_SIZE)
    edu = source.driver
    source.enable()
    source.qtest.write(PATTERN, pattern)
    edu.fill(content)
    edu.to_memory(PAGE)
    edu.write32(LIVENESS, rng.getrandbits(32))
    result = edu.factorial(10)
    edu.write32(STATUS, FACTORIAL_INTERRUPT)
    edu.write32(INTERRUPT_RAISE, INTERRUPT)
    source.wait(lambda: source.interrupts()[0], "the interrupt")
    print(
        f"guest: wrote {PATTERN_SIZE // MIB} MiB; its device filled the internal buffer, wrote a"
        f" page,\n  computed 10! = {result}, and raised an interrupt that nobody has handled"
    )
    return edu.state(), content, pattern


def compare(target, state, content, pattern):
    """Returns whether something differs, or does not work."""
    edu, differences = target.driver, Differences()
    print("target:")
    differences.note("registers equal", edu.state() == state)
    pending = edu.read32(INTERRUPT_STATUS) == INTERRUPT and target.interrupts()[0]
    edu.write32(INTERRUPT_ACKNOWLEDGE, INTERRUPT)
    differences.note("interrupt pending until handled", pending and not target.interrupts()[0])
    memory = target.qtest.read(PATTERN, PATTERN_SIZE)
    differences.note("memory equal that the guest wrote", memory == pattern)
    page = target.qtest.read(PAGE, BUFFER_SIZE)
    differences.note("memory equal that the device wrote", page == content)
    differences.note("internal buffer equal", edu.buffer() == content)
    differences.note("device computes 5! = 120", edu.factorial(5) == 120)
    # The only interrupt on the target that was not pending before.
    target.wait(lambda: target.interrupts()[0], "the interrupt of the factorial")
    differences.note("and raises its interrupt", edu.read32(INTERRUPT_STATUS) == 1)
    return differences.found


def main():
    name, *bdfs = sys.argv[1:]
    version = {str(version): version for version in versions.ALL}[name]
    versions.prepare()
    machines = []
    try:
        start(machines, "source", bdfs[0], version)
        start(machines, "target", bdfs[1], version, incoming=True)
        source, target = machines
        before = use(source, random.Random(3))
        info = migrate(source, target)
        print(
            f"QEMU says: {info['status']}, total time {info['total-time']} ms,"
            f" downtime {info['downtime']} ms,"
            f" {info['ram']['transferred'] >> 10} KiB of memory sent"
        )
        differ = compare(target, *before)
    finally:
        output = "".join(machine.close() for machine in reversed(machines))
    for line in sorted(set(output.splitlines())):
        print(f"QEMU's message: {line}")
    if differ or "annot reset device" in output:
        sys.exit("demo: the migration LOST something, see above")
    print("demo: nothing was lost")


main()
