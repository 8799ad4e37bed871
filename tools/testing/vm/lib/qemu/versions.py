# SPDX-License-Identifier: GPL-2.0-only
"""The QEMUs under test: how each is started, and what a device needs to migrate."""

import functools
import pathlib
import subprocess
import tempfile
from dataclasses import dataclass

CHROOT = pathlib.Path("/opt/qemu7")

# The directory of firmware for all QEMUs, also in the chroot.
FILES = pathlib.Path("/tmp")


@dataclass(frozen=True)
class Version:
    """A version of QEMU."""

    name: str
    command: tuple
    #: The property of vfio-pci that lets a device migrate.
    migration: str
    #: Whether it has an accelerator for guests without a program.
    has_qtest: bool
    #: Whether it migrates to files by name, not only by file descriptor.
    has_file: bool

    def processor(self, firmware=None):
        """Returns the arguments for a guest that runs `firmware`, or no program."""
        if firmware is None and self.has_qtest:
            return ("-accel", "qtest")
        return ("-accel", "tcg", "-bios", str(firmware or idle()))

    def __str__(self):
        return self.name


QEMU_11 = Version("qemu11", ("qemu-system-x86_64",), "enable-migration=on", True, True)
QEMU_7 = Version(
    "qemu7",
    ("chroot", str(CHROOT), "/usr/bin/qemu-system-x86_64"),
    "x-enable-migration=on",
    False,
    False,
)
ALL = (QEMU_11, QEMU_7)


def prepare():
    """Mounts what QEMU 7.2 needs of the system in its chroot."""
    for name in ("dev", "proc", "sys", "tmp"):
        place = CHROOT / name
        if not place.is_mount():
            subprocess.run(["mount", "--rbind", f"/{name}", place], check=True)


@functools.cache
def idle():
    """Returns the path of firmware that halts."""
    path = FILES / "idle.bin"
    halt = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt
    path.write_bytes(halt.rjust(0x10000 - 12, b"\0").ljust(0x10000, b"\0"))
    return path


@functools.cache
def assemble(source):
    """Returns the path of firmware that is assembled from a source file."""
    path = FILES / f"{source.stem}.bin"
    with tempfile.NamedTemporaryFile(suffix=".o") as unlinked:
        subprocess.run(["as", "--32", "-o", unlinked.name, source], check=True)
        subprocess.run(
            ["ld", "-m", "elf_i386", "-Ttext=0xffff0000", "-e", "0xffff0000"]
            + ["--oformat", "binary", "-o", path, unlinked.name],
            check=True,
        )
    return path
