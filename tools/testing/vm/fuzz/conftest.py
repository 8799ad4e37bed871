# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests by the random client."""

import os

import pytest

from lib.clone import TARGET


@pytest.fixture
def fuzz_vm():
    """The path of the random client."""
    path = TARGET / "release/fuzz-vm"
    assert path.is_file(), f"{path} is missing: scripts/cargo build --release -p fuzz-vm"
    return path


@pytest.fixture
def seed():
    """The seed of this run: RVFIO_SEED, or a new one."""
    return int(os.environ.get("RVFIO_SEED") or int.from_bytes(os.urandom(4), "little"))


@pytest.fixture
def seconds():
    """How long each device is attacked: RVFIO_FUZZ_SECONDS, or a short time."""
    return int(os.environ.get("RVFIO_FUZZ_SECONDS") or 20)
