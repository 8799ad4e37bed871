# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of how the use of a device ends."""

import pytest

from lib import modules
from lib.clients import Client
from lifetime import outer


@pytest.fixture
def count(count):
    """Adds a line to the summary, after the name of the driver."""
    return lambda line: count(f"{modules.DRIVER}: {line}")


@pytest.fixture
def image(bdfs, rng):
    """The image of a device of which little is 0."""
    with Client(bdfs[1]) as guest:
        guest.furnish(rng)
        return guest.save("v2")


@pytest.fixture(scope="session")
def monitor():
    """The monitor of the outer machine."""
    with outer.Monitor() as monitor:
        yield monitor
