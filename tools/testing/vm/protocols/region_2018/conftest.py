# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of the migration region of November 2018."""

import pytest

from lib.guest import Guest


@pytest.fixture
def guest_class():
    """A guest with a client for this protocol alone."""
    return Guest
