# SPDX-License-Identifier: GPL-2.0-only
"""A Debian archive in a directory, and the set-up's choice of a kernel from it."""

import hashlib
import os
import subprocess
from pathlib import Path

from clone import SCRIPTS

SUITES = ["trixie", "trixie-updates", "trixie-backports"]

# The archive step of the set-up as it is, but for signatures: nobody signs these archives.
CHOOSE = """
set -euo pipefail
. "$1/lib.sh"
. "$1/apt.sh"
. "$1/steps.sh"
source_lines() {
	local suite
	for suite in "${SUITES[@]}"; do
		echo "deb [trusted=yes] $MIRROR $suite main"
	done
}
supported_series() { printf '%s\\n' $TEST_SERIES; }
REFRESH=
exec 3>&1
mkdir -p "$RVFIO_CACHE/archive"
in_step archive build
"""


class Archive:
    """Packages of one suite; the others are there and empty."""

    def __init__(self, root: Path):
        self.root = root
        for suite in SUITES:
            (root / "dists" / suite / "main/binary-amd64").mkdir(parents=True)
        (root / "pool").mkdir()
        self.index = ""

    def add(self, name: str, version: str, files: dict[str, str] | None = None):
        """Builds a package by dpkg-deb."""
        tree = self.root.parent / "trees" / name
        (tree / "DEBIAN").mkdir(parents=True)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
            f"Maintainer: nobody <nobody@example.org>\nDescription: {name}\n"
        )
        (tree / "DEBIAN/control").write_text(control)
        for path, text in (files or {}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        deb = self.root / "pool" / f"{name}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        data = deb.read_bytes()
        self.index += (
            f"{control}Filename: pool/{deb.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
        )

    def add_kernel(self, release: str, version: str, rustc: str = "1.85.1", rust: str = "y"):
        """Adds the packages of a kernel that was built with that compiler."""
        series = ".".join(release.split("+")[0].split("-")[0].split(".")[:2])
        config = f'CONFIG_RUST={rust}\nCONFIG_RUSTC_VERSION_TEXT="rustc {rustc} (made up)"\n'
        self.add(f"linux-image-{release}", version)
        self.add(f"linux-headers-{release}", version, {f"usr/src/linux-headers-{release}/.config": config})
        self.add(f"linux-source-{series}", version)

    def publish(self):
        """Writes the indices, all packages in backports."""
        for suite in SUITES:
            text = self.index if suite.endswith("backports") else ""
            directory = self.root / "dists" / suite
            packages = directory / "main/binary-amd64/Packages"
            packages.write_text(text)
            data = packages.read_bytes()
            (directory / "Release").write_text(
                f"Suite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"
                "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
                f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/Packages\n"
            )


class Choice:
    """How the set-up chose."""

    def __init__(self, done: subprocess.CompletedProcess, answer: Path):
        self.status = done.returncode
        self.output = done.stdout
        self.kernel = None
        if answer.exists():
            values = dict(line.split("=", 1) for line in answer.read_text().splitlines())
            self.kernel = values["RELEASE"].strip("'")


def choose(
    mirror: Path, cache: Path, series: str, release: str = "", kernel: str = "stock"
) -> Choice:
    """Has the set-up choose the stock kernel: one of some series, or that release.

    'kernel' is the one that is to be set up. The cache holds apt's lists, and the answer.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("RVFIO_")}
    env |= {
        "RVFIO_CACHE": str(cache),
        "RVFIO_MIRROR": mirror.as_uri(),
        "RVFIO_KERNEL": kernel,
        "RVFIO_RELEASE": release,
        "TEST_SERIES": series,
    }
    done = subprocess.run(
        ["bash", "-c", CHOOSE, "setup", SCRIPTS],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    asked = release if kernel != "next" else ""
    return Choice(done, cache / "archive" / f"resolved-{asked or ','.join(series.split())}")
