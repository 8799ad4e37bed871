# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of all three protocols."""

import faulthandler
import random

import pytest

from clients import Client
from kernel_log import KernelLog

# No test takes half as long; one that hangs ends the run with a traceback.
HANG_SECONDS = 180


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def log():
    """The kernel's messages during the test."""
    with KernelLog() as log:
        yield log


@pytest.fixture
def rng(request):
    """Random numbers that are the same for each run of a test."""
    return random.Random(request.node.nodeid)


@pytest.fixture
def guest(bdfs):
    """The first device, open, with a client for each protocol."""
    with Client(bdfs[0]) as guest:
        yield guest


@pytest.fixture
def pair(bdfs):
    """Both devices, open."""
    with Client(bdfs[0]) as source, Client(bdfs[1]) as target:
        yield source, target


@pytest.fixture
def blank(guest):
    """The image of a fresh device, and the first device, open and running."""
    image = guest.v2.save()
    guest.device.reset()
    return image
