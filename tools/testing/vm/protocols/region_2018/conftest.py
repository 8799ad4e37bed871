# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the migration region's tests."""

import contextlib

import pytest

from guest import Guest
from watching import Watch


@pytest.fixture
def guest(bdfs):
    """The first device, open."""
    with Guest(bdfs[0]) as guest:
        yield guest


@pytest.fixture
def pair(bdfs):
    """Both devices, open, each with memory of its own."""
    with Guest(bdfs[0]) as source, Guest(bdfs[1]) as target:
        yield source, target


@pytest.fixture
def blank(guest):
    """The image of a fresh device, and the first device, open and running."""
    image = guest.region.save()
    guest.device.reset()
    return image


@pytest.fixture
def looking_on(vfio_migrate):
    """Starts commands that look on, and ends those that still run."""
    with contextlib.ExitStack() as stack:

        def start(command, *arguments):
            started = Watch(vfio_migrate, command, *arguments)
            stack.callback(started.process.wait)
            stack.callback(started.process.kill)
            return started

        yield start
