# SPDX-License-Identifier: GPL-2.0-only
"""Which differences between the kernel's configuration and the prepared tree's count."""

import os
import subprocess

import pytest

from clone import SCRIPTS

CONFIG = """\
CONFIG_CC_VERSION_TEXT="gcc-14 (Debian 14.2.0-19) 14.2.0"
CONFIG_GCC_VERSION=140200
CONFIG_AS_VERSION=24400
CONFIG_LD_VERSION=24400
CONFIG_LLD_VERSION=0
CONFIG_PAHOLE_VERSION=129
CONFIG_RUSTC_VERSION=108501
CONFIG_RUSTC_VERSION_TEXT="rustc 1.85.1"
CONFIG_BINDGEN_VERSION_TEXT="bindgen 0.71.1"
CONFIG_VFIO_PCI_CORE=m
"""

STEP = '. "$1/lib.sh"; . "$1/apt.sh"; . "$1/steps.sh"; in_step kernel without_tool_versions "$2"'


@pytest.fixture
def compared(tmp_path):
    """Returns a function that gives what is compared of a configuration."""

    def run(text: str) -> str:
        (tmp_path / "config").write_text(text)
        return subprocess.run(
            ["bash", "-euc", STEP, "setup", SCRIPTS, tmp_path / "config"],
            env={**os.environ, "RVFIO_CACHE": str(tmp_path), "RVFIO_RELEASE": ""},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    return run


@pytest.mark.parametrize(
    "old, new",
    [
        ("14.2.0-19", "14.2.0-20"),
        ("GCC_VERSION=140200", "GCC_VERSION=140300"),
        ("AS_VERSION=24400", "AS_VERSION=24401"),
        ("LD_VERSION=24400", "LD_VERSION=24401"),
        ("PAHOLE_VERSION=129", "PAHOLE_VERSION=130"),
        ("bindgen 0.71.1", "bindgen 0.72.0"),
    ],
)
def test_a_version_of_a_tool_does_not_count(compared, old, new):
    assert old in CONFIG
    assert compared(CONFIG) == compared(CONFIG.replace(old, new))


@pytest.mark.parametrize("old, new", [("rustc 1.85.1", "rustc 1.97.1"), ("CORE=m", "CORE=y")])
def test_all_else_counts(compared, old, new):
    assert old in CONFIG
    assert compared(CONFIG) != compared(CONFIG.replace(old, new))
