# SPDX-License-Identifier: GPL-2.0-only
"""scripts/check-kdir: what a tree lacks, in words."""

import os
import subprocess
from pathlib import Path

import pytest

from clone import SCRIPTS

TREE = Path(os.environ["RVFIO_KDIR"])
OPTIONS = ["CONFIG_MODULES", "CONFIG_RUST", "CONFIG_VFIO_PCI_CORE", "CONFIG_VFIO_MDEV"]


def check(kdir: Path, **env: str) -> tuple[int, str]:
    """Returns status and output."""
    done = subprocess.run(
        [SCRIPTS / "check-kdir", kdir],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def tree(tmp_path):
    """A tree that has all that is looked for, by links to the one in use; of a series to be."""
    for name in ["Makefile", "Module.symvers", "include/generated/autoconf.h"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(TREE / name)
    (tmp_path / "rust").mkdir()
    for crate in [*TREE.glob("rust/*.rmeta"), *TREE.glob("rust/*.so")]:
        (tmp_path / "rust" / crate.name).symlink_to(crate)
    (tmp_path / "include/config").mkdir()
    (tmp_path / "include/config/kernel.release").write_text("99.1.2-made-up\n")
    (tmp_path / ".config").write_text((TREE / ".config").read_text())
    return tmp_path


def test_the_tree_in_use_is_supported():
    assert check(TREE) == (0, "")


def test_another_series_is_a_note(tree):
    status, output = check(tree)
    assert status == 0
    assert "is a tree of kernel 99.1.2-made-up; supported here: 7." in output


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_is_not_set(tree, option):
    config = tree / ".config"
    config.write_text(config.read_text().replace(f"{option}=", f"# {option}="))
    status, output = check(tree)
    assert status == 1
    assert option in output
    assert "Series that the modules are known to build with: 7." in output


@pytest.mark.parametrize(
    "name, words",
    [
        ("Module.symvers", "build the kernel, or copy the file from its headers package"),
        ("rust/libkernel.rmeta", "Rust metadata (rust/libkernel.rmeta): prepare the tree"),
        ("rust/libmacros.so", "Rust metadata (rust/libmacros.so): prepare the tree"),
        ("include/generated/autoconf.h", "include/generated"),
    ],
)
def test_a_file_that_is_missing(tree, name, words):
    (tree / name).unlink()
    status, output = check(tree)
    assert status == 1
    assert words in output


def test_all_that_is_missing_is_said_at_once(tree):
    (tree / "Module.symvers").unlink()
    (tree / "rust/libcore.rmeta").unlink()
    status, output = check(tree, RUSTC="/nowhere/rustc", BINDGEN="/nowhere/bindgen")
    assert status == 1
    for words in ["Module.symvers", "rust/libcore.rmeta", "there is no rustc", "bindgen on this machine"]:
        assert words in output


def test_another_compiler(tree, tmp_path):
    rustc = tmp_path / "rustc"
    rustc.write_text("#!/bin/sh\necho rustc 1.99.0 made up\n")
    rustc.chmod(0o755)
    status, output = check(tree, RUSTC=str(rustc))
    assert status == 1
    assert "and rustc here is 'rustc 1.99.0 made up'" in output


def test_a_directory_that_is_no_tree(tmp_path):
    status, output = check(tmp_path)
    assert status == 1 and "is no configured kernel tree" in output
    status, output = check(tmp_path / "nowhere")
    assert status == 1 and "there is no directory" in output
