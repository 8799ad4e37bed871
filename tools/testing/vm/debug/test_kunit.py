# SPDX-License-Identifier: GPL-2.0-only
"""The KUnit tests of rust/vfio, which ran when rvfio.ko was loaded: what no client can reach."""

import pathlib
import re

from lib.clone import CLONE

RESULTS = pathlib.Path("/sys/kernel/debug/kunit")

SUITE = re.compile(r"^#\[(?:\w+::)*kunit_tests\((\w+)\)\]$", re.M)
CASE = re.compile(r"^    (ok|not ok) \d+ (\w+)(.*)$", re.M)
TESTS = re.compile(r"#\[test\]\s+fn (\w+)")


def test_all_have_passed(bdfs, count):
    """Each test that the source has ran and passed, none was left out."""
    assert bdfs, "with the driver for them rvfio is loaded"
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
