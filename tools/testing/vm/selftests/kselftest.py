# SPDX-License-Identifier: GPL-2.0-only
"""Runs a program of the kernel's selftests and reads its report in TAP."""

import os
import pathlib
import re
import subprocess

from lib.iommufd import HAS_IOMMUFD

PROGRAMS = pathlib.Path("/run/vm/selftests")

LINE = re.compile(r"^(ok|not ok) \d+ (\S+)(?:\s+# (SKIP|XFAIL)\b)?")
PLAN = re.compile(r"^1\.\.(\d+)$", re.M)
# The names of variants that need iommufd.
IOMMUFD = "iommufd"


def start(name, *arguments, mode):
    """Runs a program; returns exit status and output."""
    result = subprocess.run(
        [PROGRAMS / name, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
        env={**os.environ, "RVFIO_IOMMU_MODE": mode},
    )
    return result.returncode, result.stdout


def _variants(name, bdf, mode):
    """Returns the names of all variants of a program's fixtures."""
    _, text = start(name, "-l", bdf, mode=mode)
    return sorted(set(re.findall(r"\b\w*(?:type1|iommufd)\w*\b", text)))


def run(name, *bdfs, mode):
    """Returns the result of each test (passed, failed, skipped), and the whole output.

    If the kernel has no iommufd, the variants that need it are left out, by the programs' own
    option.
    """
    left_out = [
        one
        for one in _variants(name, bdfs[0], mode)
        if one.startswith(IOMMUFD) and not HAS_IOMMUFD
    ]
    options = [part for variant in left_out for part in ("-V", variant)]
    status, text = start(name, *options, *bdfs, mode=mode)
    results = {}
    for line in text.splitlines():
        if found := LINE.match(line):
            word, test, skipped = found.groups()
            results[test] = "skipped" if skipped else "passed" if word == "ok" else "failed"
    plan = PLAN.search(text)
    assert plan, text
    assert len(results) == int(plan[1]), text
    assert (status == 0) == ("failed" not in results.values()), text
    return results, text, left_out
