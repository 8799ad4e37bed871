# SPDX-License-Identifier: GPL-2.0-only
"""The clone of the project: its scripts, and where the tools are built."""

import pathlib
import subprocess

CLONE = pathlib.Path(__file__).resolve().parents[4]
TARGET = CLONE / "tools/target"


def script(name, *arguments):
    """Runs one of the project's scripts; fails with its message."""
    result = subprocess.run(
        [CLONE / "scripts" / name, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
