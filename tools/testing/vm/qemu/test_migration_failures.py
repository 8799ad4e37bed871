# SPDX-License-Identifier: GPL-2.0-only
"""Migrations that do not complete: the guest goes on at the source."""

import pytest

from lib.qemu.machine import migrate
from lib.qemu.steps import DAMAGES, begin_held, check_runs, moves, refuses
from qemu.qmp import ExecuteError


@pytest.fixture
def content(source, rng):
    """What the source's device has in it."""
    return source.driver.furnish(rng)


def test_the_target_refuses(start, source, content):
    """The same guest survives each damage in turn, and migrates in the end."""
    for damage in DAMAGES:
        refuses(source, start(1, incoming=True), damage)
        check_runs(source, content)

    another = start(1, incoming=True)
    migrate(source, another)
    check_runs(another, content)


def test_cancel_and_retry(start, source, target, content):
    begin_held(source, target)
    source.cmd("migrate_cancel")
    source.wait_end("cancelled")
    check_runs(source, content)
    assert target.wait_exit() != 0

    another = start(1, incoming=True)
    moves(source, another, content)


def test_target_killed(start, source, target, content):
    begin_held(source, target)
    target.kill()
    source.wait_end("failed")
    check_runs(source, content)

    another = start(1, incoming=True)
    moves(source, another, content)


def test_source_killed(start, source, target, content):
    begin_held(source, target)
    source.kill()
    assert target.wait_exit() != 0

    # Both devices are free, and have nothing left of the guest.
    for device in (0, 1):
        fresh = start(device)
        fresh.enable()
        check_runs(fresh, fresh.driver.NOTHING)


def test_no_unplug_while_migrating(source, target, content):
    begin_held(source, target)
    with pytest.raises(ExecuteError, match="migrat"):
        source.cmd("device_del", id="device0")
    source.release()
    source.wait_end()
    check_runs(target, content)
