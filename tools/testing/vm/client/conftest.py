# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of vfio-migrate."""

import contextlib

import pytest

from client.watching import Watch


@pytest.fixture
def looking_on(vfio_migrate):
    """Starts commands that watch devices, and ends those that still run."""
    with contextlib.ExitStack() as stack:

        def start(command, *arguments):
            started = Watch(vfio_migrate, command, *arguments)
            stack.callback(started.process.wait)
            stack.callback(started.process.kill)
            return started

        yield start
