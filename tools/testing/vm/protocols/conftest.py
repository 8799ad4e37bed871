# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of all three protocols."""

import pytest

from clients import Client


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
