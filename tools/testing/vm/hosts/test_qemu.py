# SPDX-License-Identifier: GPL-2.0-only
"""QEMU migrates a guest to another host, which has a device and a driver of its own."""

import contextlib
import subprocess

import pytest

from devices.edu import BUFFER, BUFFER_SIZE, LIVENESS, TO_MEMORY
from lib.qemu.machine import migrate
from lib.qemu.steps import (
    at_switchover,
    begin_held,
    check_msi,
    check_runs,
    end_held,
    moves,
    raise_msi,
    refuses,
)

# A page of guest memory for the device to write.
PAGE = 0x300000


@pytest.fixture
def used(start, rng):
    """A guest on the source, and what its device has in it."""
    machine = start("source", 0)
    machine.enable()
    return machine, machine.driver.furnish(rng)


@pytest.fixture
def source(used):
    """The guest on the source."""
    return used[0]


@pytest.fixture
def content(used):
    """What its device has in it."""
    return used[1]


@pytest.fixture
def target(start):
    """A QEMU on the target that waits for a guest."""
    return start("target", 0, incoming=True)


@pytest.mark.edu
def test_a_guest_moves(start, way, rng):
    here, there = way
    content = rng.randbytes(BUFFER_SIZE)
    source = start(here, 0)
    source.enable()
    source.driver.fill(content)
    source.driver.to_memory(PAGE, 4000, at=96)
    source.driver.write32(LIVENESS, 0x12345678)
    assert source.driver.factorial(10) == 3628800
    raise_msi(source, source.driver)
    state = source.driver.state()

    target = start(there, 0, incoming=True)
    migrate(source, target)
    check_msi(target, target.driver)
    assert target.driver.state() == state
    assert target.qtest.read(PAGE, 4000) == content[96:]
    check_runs(target, content)


@pytest.mark.writes_memory
def test_there_and_back(start, source, content):
    written = source.driver.write_memory(PAGE)
    for number, place in enumerate(("target", "source")):
        source.driver.touch(number)
        state = source.driver.state()
        target = start(place, 0, incoming=True)
        migrate(source, target)
        assert target.driver.state() == state
        assert target.qtest.read(PAGE, len(written)) == written
        source.close()
        source = target
    check_runs(source, content)


@pytest.mark.writes_memory
def test_memory_written_during_precopy(source, target, rng):
    begin_held(source, target)
    written = source.driver.write_memory(PAGE)
    new = source.driver.furnish(rng)
    assert source.migration()["status"] == "active"
    end_held(source, target)
    assert target.qtest.read(PAGE, len(written)) == written
    check_runs(target, new)


@pytest.mark.edu
def test_two_devices_of_which_one_is_at_work(start, rng):
    contents = [rng.randbytes(BUFFER_SIZE) for _ in range(2)]
    source = start("source", 0, 1)
    source.enable()
    for edu, content in zip(source.drivers, contents):
        edu.fill(content)
    first, second = source.drivers
    raise_msi(source, first)

    # The devices change places.
    target = start("target", 1, 0, incoming=True)
    with at_switchover(source, target, second):
        second.start(BUFFER, PAGE, BUFFER_SIZE, TO_MEMORY)
    check_msi(target, target.drivers[0])
    assert target.qtest.read(PAGE, BUFFER_SIZE) == contents[1]
    assert [edu.buffer() for edu in target.drivers] == contents
    assert [edu.factorial(5) for edu in target.drivers] == [120, 120]


def test_target_killed(start, source, target, content):
    begin_held(source, target)
    target.kill()
    source.wait_end("failed")
    check_runs(source, content)

    another = start("target", 0, incoming=True)
    moves(source, another, content)


def test_source_killed(start, source, target):
    begin_held(source, target)
    source.kill()
    assert target.wait_exit() != 0

    # The target's device is free, and has nothing left of the guest.
    fresh = start("target", 0)
    fresh.enable()
    check_runs(fresh, fresh.driver.NOTHING)


@contextlib.contextmanager
def no_network():
    """Takes the link between the hosts down."""
    subprocess.run(["ip", "link", "set", "eth0", "down"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)


def test_the_link_is_lost_and_the_migration_cancelled(start, source, target, content):
    begin_held(source, target)
    with no_network():
        check_runs(source, content)
        assert source.migration()["status"] == "active"
        source.cmd("migrate_cancel")
        # QEMU 7.2 may take the write that it interrupts for a failed one.
        source.wait_migration("cancelled", "failed")
        check_runs(source, content)
    # The network may never tell the target, so its user ends it.
    target.kill()

    another = start("target", 0, incoming=True)
    moves(source, another, content)


def test_the_target_refuses(start, source, content):
    for damage in ("device", "registers"):
        refuses(source, start("target", 0, incoming=True), damage)
        check_runs(source, content)

    another = start("target", 0, incoming=True)
    migrate(source, another)
    check_runs(another, content)
