# SPDX-License-Identifier: GPL-2.0-only
"""A tree of only what distributions put into packages of kernel headers, Rust metadata included."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clone import CLONE

TREE = Path(os.environ["RVFIO_KDIR"])

# What such packages hold, by the one of Arch Linux; of rust/ only what is compiled.
WHOLE = ["include", "scripts", "arch/x86/include"]
FILES = [".config", "Makefile", "Module.symvers", "kernel/Makefile", "arch/x86/Makefile"]
FILES += ["tools/objtool/objtool", "arch/x86/kernel/asm-offsets.s"]
COMPILED = ["rust/*.rmeta", "rust/*.so"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the tree in use, stripped to that."""
    root = tmp_path_factory.mktemp("package") / "linux-headers"
    for name in WHOLE:
        shutil.copytree(TREE / name, root / name, symlinks=True)
    kconfig = [path.relative_to(TREE) for path in TREE.rglob("Kconfig*") if path.is_file()]
    compiled = [path.relative_to(TREE) for glob in COMPILED for path in TREE.glob(glob)]
    for name in [*FILES, *kconfig, *compiled]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / name, root / name)
    for path in root.rglob("*.o"):
        path.unlink()
    assert not list((root / "rust").glob("[Mb]*"))
    return root


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the sources of the modules, with nothing built in it."""
    root = tmp_path_factory.mktemp("clone")
    built = shutil.ignore_patterns("*.o", "*.rmeta", "*_generated.*", "*.flags", ".*.cmd", ".tmp_*")
    for name in ["Kbuild", "Makefile", "include", "rust", "scripts"]:
        if (CLONE / name).is_dir():
            shutil.copytree(CLONE / name, root / name, ignore=built)
        else:
            shutil.copy(CLONE / name, root / name)
    return root


def test_modules_from_a_package_are_those_from_the_tree(package, clone):
    """By 'make KDIR=...', as a user of such a package builds them."""
    done = subprocess.run(
        ["make", "-C", clone, f"KDIR={package}", f"CC={os.environ['RVFIO_CC']}",
         f"-j{os.cpu_count()}", "modules"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for name in ["rvfio.ko", "edu_vfio_pci.ko", "edu_mdev.ko"]:
        assert (clone / name).exists()
    for name in ["bindings_generated.rs", "layout_generated.rs", "compat/raw_try_init.flags"]:
        ours, theirs = ((root / "rust/vfio" / name).read_text() for root in (CLONE, clone))
        assert ours == theirs, f"{name} differs from that of the whole tree"
    # The same imports with the same checksums: the kernel that loads the one loads the other.
    ours, theirs = ((root / "Module.symvers").read_text() for root in (CLONE, clone))
    assert ours == theirs


@pytest.mark.parametrize("name", ["Makefile", "bindgen_parameters"])
def test_the_fallbacks_are_those_of_the_tree(name):
    """The files that stand in for a package's missing ones say what a supported kernel's say."""

    def said(path: Path) -> list[str]:
        text = path.read_text()
        if name == "Makefile":
            text = text[text.index("bindgen_skip_c_flags :=") :].split("\n\n")[0]
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    assert said(CLONE / "rust/vfio/bindgen" / name) == said(TREE / "rust" / name)
