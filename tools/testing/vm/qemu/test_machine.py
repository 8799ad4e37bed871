# SPDX-License-Identifier: GPL-2.0-only
"""What the other tests rely on in a QEMU that they have started."""

import time

import pytest

from lib.qemu import versions


@pytest.fixture
def version():
    """The version whose guests have a clock that runs by itself."""
    return versions.QEMU_7


# The device has no part in it, so one flavour is enough.
@pytest.mark.physical
def test_a_guest_that_is_left_alone(start):
    """The interrupts of its clock, which qtest reports, must not fill a socket and block QEMU."""
    machine = start(0)
    time.sleep(20)
    assert machine.status() == "running"
