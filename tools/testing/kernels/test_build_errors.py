# SPDX-License-Identifier: GPL-2.0-only
"""scripts/build-errors: what a build with another kernel says, by class."""

import subprocess

import pytest

from clone import SCRIPTS


def classes(log: str) -> tuple[int, list[str]]:
    """Returns the status, and the lines of output."""
    done = subprocess.run(
        [SCRIPTS / "build-errors"], input=log, stdout=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, [line.strip() for line in done.stdout.splitlines()]


def test_errors_that_differ_in_a_name_are_of_one_class():
    status, lines = classes(
        """\
error[E0432]: unresolved import `kernel::module`
  --> rust/vfio/debugfs.rs:25:5
   |
error[E0425]: cannot find value `ENOMSG` in this scope
  --> rust/migration/v2.rs:29:9
warning: unused variable: `x`
  --> rust/migration/v2.rs:30:1
error[E0425]: cannot find value `EOPNOTSUPP` in this scope
   --> rust/vfio/pci/private_dma.rs:114:9
error: aborting due to 3 previous errors; 1 warning emitted
"""
    )
    assert status == 0
    assert lines == [
        "3 errors",
        "2  E0425 cannot find value _ in this scope",
        "of: ENOMSG, EOPNOTSUPP",
        "first at rust/migration/v2.rs:29",
        "1  E0432 unresolved import _",
        "of: kernel::module",
        "first at rust/vfio/debugfs.rs:25",
        "1 warning",
        "1  unused variable: _",
        "of: x",
        "first at rust/migration/v2.rs:30",
    ]


@pytest.mark.parametrize(
    "line, wanted",
    [
        (
            "rust/vfio/helpers.c:12:5: error: implicit declaration of function ‘foo’",
            ["1 error", "1  C implicit declaration of function _", "of: foo"],
        ),
        ('ERROR: modpost: "foo" [rvfio.ko] undefined!', ["1 error", "1  modpost _ [_] undefined!"]),
        (
            "make[3]: *** No rule to make target 'foo'.  Stop.",
            ["1 error", "1  make No rule to make target 'foo'.  Stop."],
        ),
    ],
)
def test_other_tools(line, wanted):
    status, lines = classes(f"{line}\n")
    assert status == 0
    assert lines[: len(wanted)] == wanted


def test_warnings_alone_are_no_errors():
    status, lines = classes("a.o: warning: objtool: rw() falls through to next function b()\n")
    assert status == 1
    assert lines[:2] == ["1 warning", "1  objtool _ falls through to next function _"]


def test_a_build_without_any():
    assert classes("  RUSTC [M] rust/vfio/vfio.o\n") == (1, [])
