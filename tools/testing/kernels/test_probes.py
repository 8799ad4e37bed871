# SPDX-License-Identifier: GPL-2.0-only
"""rust/vfio/compat/probe.mk: what a tree has is found by compiling against its metadata."""

import os
import subprocess
from pathlib import Path

import pytest

from clone import CLONE

PROBES = CLONE / "rust/vfio/compat"

HERE = "pub(crate) use kernel::error::Error;\n"
NOT_HERE = "pub(crate) use kernel::error::MadeUp;\n"


def kbuild(directory: Path) -> subprocess.CompletedProcess:
    """Runs the kernel's build system on a directory, with the tree of the set-up."""
    return subprocess.run(
        ["make", "--no-print-directory", "-C", os.environ["RVFIO_KDIR"], f"M={directory}",
         f"CC={os.environ['RVFIO_CC']}", "modules"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def probe(tmp_path):
    """Returns a function that probes for one name by these sides of it."""

    def run(name: str, present: str, absent: str) -> subprocess.CompletedProcess:
        sides = tmp_path / name
        sides.mkdir(exist_ok=True)
        (sides / "present.rs").write_text(present)
        (sides / "absent.rs").write_text(absent)
        (tmp_path / "Kbuild").write_text(
            f"rvfio-probes :=\ninclude {PROBES}/probe.mk\nalways-y := {name}.flags\n"
        )
        return kbuild(tmp_path)

    return run


def test_an_item_that_the_tree_has(probe, tmp_path):
    done = probe("made_up", HERE, NOT_HERE)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "made_up.flags").read_text() == '--cfg=kernel_has="made_up"\n'


def test_an_item_that_the_tree_lacks(probe, tmp_path):
    done = probe("made_up", NOT_HERE, HERE)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "made_up.flags").read_text() == ""


def test_a_tree_with_neither_side(probe, tmp_path):
    done = probe("made_up", NOT_HERE, "pub(crate) use kernel::error::OtherName;\n")
    assert done.returncode != 0
    assert "the kernel tree has neither side of made_up" in done.stdout
    assert "MadeUp" in done.stdout and "OtherName" in done.stdout
    assert not (tmp_path / "made_up.flags").exists()


def test_a_changed_probe_is_asked_again(probe, tmp_path):
    assert probe("made_up", HERE, NOT_HERE).returncode == 0
    assert probe("made_up", NOT_HERE, HERE).returncode == 0
    assert (tmp_path / "made_up.flags").read_text() == ""


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PROBES.glob("*/present.rs")))
def test_both_sides_of_each_difference_define_the_same(name):
    """A side that no tree in use takes must not rot: its items and safety comments are the other's."""

    def items(side: str) -> list[str]:
        text = (PROBES / name / f"{side}.rs").read_text()
        return [line for line in text.splitlines() if line.startswith(("///", "pub", "    pub"))]

    assert items("present") == items("absent")


def test_the_modules_choose_as_the_probes_say():
    """The tree in use is of a supported series, and has what is new in it."""
    flags = (CLONE / "rust/vfio/compat/raw_try_init.flags").read_text()
    assert flags == '--cfg=kernel_has="raw_try_init"\n'
