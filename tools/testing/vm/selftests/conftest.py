# SPDX-License-Identifier: GPL-2.0-only
"""The lines by which the kernel's selftests end."""

import pytest

SUMMARY = pytest.StashKey()


def pytest_configure(config):
    config.stash[SUMMARY] = []


@pytest.fixture
def count(request):
    """Adds a line to the summary."""
    return request.config.stash[SUMMARY].append


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash[SUMMARY]:
        terminalreporter.write_line(f"selftests: {line}")
