# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of more than one protocol, and of v1 and v2."""

import pytest

from lib.clients import Client


@pytest.fixture
def guest_class():
    """A guest with a client for each protocol."""
    return Client
