# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of all three protocols."""

import pytest

from lib.clients import Client


@pytest.fixture
def guest_class():
    """A client for each protocol."""
    return Client
