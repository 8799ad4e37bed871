# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests with QEMU."""

import statistics

import pytest

from lib.qemu import machine, versions


@pytest.fixture(scope="session", autouse=True)
def prepared():
    versions.prepare()


@pytest.fixture
def start(all_bdfs, version):
    """Starts a QEMU with one device or more, by number; see Machine for the options."""
    with machine.machines() as started:

        def start_one(*devices, **options):
            started.append(machine.Machine([all_bdfs[n] for n in devices], version, **options))
            return started[-1]

        yield start_one


@pytest.fixture
def source(start):
    """A guest with the first device."""
    one = start(0)
    one.enable()
    return one


@pytest.fixture
def target(start):
    """A QEMU with the second device that waits for a guest."""
    return start(1, incoming=True)


def pytest_terminal_summary(terminalreporter):
    """Prints what QEMU says of the migrations that ran undisturbed."""
    for name in sorted({name for name, _, _ in machine.figures}):
        total, downtime = zip(*(times for one, *times in machine.figures if one == name))
        terminalreporter.write_line(
            f"{name}: {len(total)} migrations, in ms (median, most):"
            f" total {statistics.median(total):.0f}, {max(total)};"
            f" downtime {statistics.median(downtime):.0f}, {max(downtime)}"
        )
