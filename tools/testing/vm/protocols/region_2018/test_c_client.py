# SPDX-License-Identifier: GPL-2.0-only
"""The client in C, which knows nothing of the project but the uAPI header."""

import os
import pathlib
import subprocess

import pytest

from lib.clone import TARGET

pytestmark = pytest.mark.edu


def run(*arguments):
    path = pathlib.Path(os.environ.get("RVFIO_REGION_CLIENT", TARGET / "region_client"))
    assert path.is_file(), f"{path} is missing: build it with 'make -C tools/testing/vm/c'"
    return subprocess.run(
        [path, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def test_both_directions(bdfs):
    for pair in (bdfs, bdfs[::-1]):
        result = run(*pair)
        assert result.returncode == 0, result.stdout
        lines = result.stdout.splitlines()
        assert len(lines) >= 15 and all(line.startswith("PASS ") for line in lines)
        assert "PASS the internal buffers are equal" in lines


def test_it_tells_what_is_wrong(bdfs):
    assert run().returncode == 2
    result = run("0000:ff:1f.7", bdfs[1])
    assert result.returncode == 1
    assert "FAIL 0000:ff:1f.7" in result.stdout
