# SPDX-License-Identifier: GPL-2.0-only
"""The conformance suite on two virtual functions."""

import json
import subprocess

from lib import modules
from lib.patience import SLOWNESS


def test_the_conformance_suite(vfio_migrate, functions, count):
    result = subprocess.run(
        [vfio_migrate, "check", functions[0], "--to", functions[1], "--json"],
        capture_output=True,
        text=True,
        timeout=280 * SLOWNESS,
        check=False,
    )
    report = json.loads(result.stdout)
    count(f"vfio-migrate check: {report['passed']} passed, {report['failed']} failed")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert report["failed"] == 0 and report["passed"] > 100


def test_vfio_migrate_moves_it(vfio_migrate, functions, tmp_path):
    for command, option, bdf in (("save", "-o", functions[0]), ("restore", "-i", functions[1])):
        status, output = modules.run(vfio_migrate, command, bdf, option, tmp_path / "image")
        assert status == 0, output
