# SPDX-License-Identifier: GPL-2.0-only
"""The KUnit tests of rust/vfio, for what no client reaches; they run when rvfio.ko is loaded."""

import pathlib
import re

from lib.clone import CLONE

RESULTS = pathlib.Path("/sys/kernel/debug/kunit")

SUITE = re.compile(r"^#\[(?:\w+::)*kunit_tests\((\w+)\)\]$", re.M)
CASE = re.compile(r"^    (ok|not ok) \d+ (\w+)(.*)$", re.M)
TESTS = re.compile(r"#\[test\]\s+fn (\w+)")


def test_all_have_passed(bdfs, count):
    """Every test in the source has run and passed."""
    assert bdfs, "rvfio.ko is loaded along with the driver"
    suites = 0
    cases = 0
    for path in sorted((CLONE / "rust").rglob("*.rs")):
        text = path.read_text(encoding="utf-8")
        found = SUITE.search(text)
        if not found:
            continue
        results = (RESULTS / found[1] / "results").read_text(encoding="ascii")
        wanted = TESTS.findall(text[found.end() :])
        assert [case.groups() for case in CASE.finditer(results)] == [
            ("ok", name, "") for name in wanted
        ], results
        suites += 1
        cases += len(wanted)
    assert suites
    count(f"{cases} KUnit tests in {suites} suites passed")
