# SPDX-License-Identifier: GPL-2.0-only
"""What the other tests take for granted of a QEMU that they have started."""

import time

import pytest

from lib.qemu import versions


@pytest.fixture
def version():
    """The one whose guests have a clock that runs by itself."""
    return versions.QEMU_7


def test_a_guest_that_is_left_alone(start):
    """Its clock's interrupts, which qtest reports, must not fill a socket and stop QEMU."""
    machine = start(0)
    time.sleep(20)
    assert machine.status() == "running"
