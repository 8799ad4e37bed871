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
def content(rng):
    """What the source's device has in its buffer."""
    return rng.randbytes(BUFFER_SIZE)


@pytest.fixture
def source(start, content):
    """A guest on the source."""
    machine = start("source", 0)
    machine.enable()
    machine.edu.fill(content)
    return machine


@pytest.fixture
def target(start):
    """A QEMU on the target that waits for a guest."""
    return start("target", 0, incoming=True)


def test_a_guest_moves(start, way, content):
    here, there = way
    source = start(here, 0)
    source.enable()
    source.edu.fill(content)
    source.edu.to_memory(PAGE, 4000, at=96)
    source.edu.write32(LIVENESS, 0x12345678)
    assert source.edu.factorial(10) == 3628800
    raise_msi(source, source.edu)
    state = source.edu.state()

    target = start(there, 0, incoming=True)
    migrate(source, target)
    check_msi(target, target.edu)
    assert target.edu.state() == state
    assert target.qtest.read(PAGE, 4000) == content[96:]
    check_runs(target, content)


def test_there_and_back(start, source, content):
    source.edu.to_memory(PAGE)
    for number, place in enumerate(("target", "source")):
        source.edu.write32(LIVENESS, number)
        state = source.edu.state()
        target = start(place, 0, incoming=True)
        migrate(source, target)
        assert target.edu.state() == state
        assert target.qtest.read(PAGE, BUFFER_SIZE) == content
        source.close()
        source = target
    check_runs(source, content)


def test_memory_written_during_precopy(source, target, content, rng):
    new = rng.randbytes(BUFFER_SIZE)
    begin_held(source, target)
    source.edu.to_memory(PAGE)
    source.edu.fill(new)
    assert source.migration()["status"] == "active"
    end_held(source, target)
    assert target.qtest.read(PAGE, BUFFER_SIZE) == content
    check_runs(target, new)


def test_two_devices_of_which_one_is_at_work(start, rng):
    contents = [rng.randbytes(BUFFER_SIZE) for _ in range(2)]
    source = start("source", 0, 1)
    source.enable()
    for edu, content in zip(source.edus, contents):
        edu.fill(content)
    first, second = source.edus
    raise_msi(source, first)

    # The devices change places.
    target = start("target", 1, 0, incoming=True)
    with at_switchover(source, target, second):
        second.start(BUFFER, PAGE, BUFFER_SIZE, TO_MEMORY)
    check_msi(target, target.edus[0])
    assert target.qtest.read(PAGE, BUFFER_SIZE) == contents[1]
    assert [edu.buffer() for edu in target.edus] == contents
    assert [edu.factorial(5) for edu in target.edus] == [120, 120]


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
    check_runs(fresh, bytes(BUFFER_SIZE))


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
