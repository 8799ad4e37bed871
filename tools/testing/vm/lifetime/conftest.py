# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of how use ends, and the lines by which they end."""

import pytest

import modules
import outer
from clients import Client

# What the tests have counted, for the summary.
SUMMARY = pytest.StashKey()


def pytest_configure(config):
    config.stash[SUMMARY] = []


@pytest.fixture
def count(request):
    """Adds a line to the summary."""
    return request.config.stash[SUMMARY].append


@pytest.fixture
def image(bdfs, rng):
    """The image of a device of which little is 0."""
    with Client(bdfs[1]) as guest:
        guest.furnish(rng)
        return guest.save("v2")


@pytest.fixture(scope="session")
def monitor():
    """The outer machine's."""
    with outer.Monitor() as monitor:
        yield monitor


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash[SUMMARY]:
        terminalreporter.write_line(f"lifetime: {modules.DRIVER}: {line}")
