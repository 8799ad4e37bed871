# SPDX-License-Identifier: GPL-2.0-only
"""Mediated devices of the kernel's sample that migrates, samples/vfio-mdev/mtty.c."""

import contextlib
import pathlib
import subprocess
import uuid

PARENT = pathlib.Path("/sys/devices/virtual/mtty/mtty")
DEVICES = pathlib.Path("/sys/bus/mdev/devices")

# QEMU would ask the device for dirty pages, which the stock kernel cannot report.
PROPERTIES = ("x-device-dirty-page-tracking=off",)


@contextlib.contextmanager
def devices(count):
    """Creates devices with one port each; the value is a list of their paths in sysfs."""
    subprocess.run(["modprobe", "mtty"], check=True)
    with contextlib.ExitStack() as made:
        paths = []
        for _ in range(count):
            name = str(uuid.uuid4())
            (PARENT / "mdev_supported_types/mtty-1/create").write_text(name)
            path = DEVICES / name
            made.callback((path / "remove").write_text, "1")
            paths.append(str(path))
        yield paths
