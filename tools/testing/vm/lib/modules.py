# SPDX-License-Identifier: GPL-2.0-only
"""Loading the modules and binding devices through sysfs.

With RVFIO_FLAVOUR=mdev the devices are virtual ones: creating one stands for binding it.
"""

import errno
import os
import pathlib
import subprocess

from devices.chosen import DEVICE
from lib import mediated
from lib.vfio import is_virtual, sysfs

VARIANT = DEVICE.VARIANT
DRIVER = mediated.DRIVER if os.environ.get("RVFIO_FLAVOUR") == "mdev" else VARIANT
PCI = "/sys/bus/pci"

if not DRIVER:
    raise SystemExit(f"RVFIO_FLAVOUR=mdev: {VARIANT} has no mediated driver beside it")


def find_devices(ids=DEVICE.IDS):
    """Returns the addresses of all devices with these numbers of vendor and device, in order."""

    def of(device):
        return tuple((device / name).read_text().strip() for name in ("vendor", "device"))

    devices = pathlib.Path(PCI, "devices").iterdir()
    return sorted(device.name for device in devices if of(device) == ids)


def run(*command):
    """Runs a command that may fail; returns exit status and all output."""
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return result.returncode, result.stdout


def load(driver=DRIVER, **parameters):
    """Loads a driver, with the library that it needs."""
    status, output = run(
        "modprobe", driver, *(f"{name}={value}" for name, value in parameters.items())
    )
    assert status == 0, output


def unload(driver=DRIVER):
    status, output = run("modprobe", "-r", driver)
    assert status == 0, output


def is_loaded(name=DRIVER):
    return os.path.isdir(f"/sys/module/{name}")


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def driver_of(name):
    """Returns the name of the device's driver, or None."""
    try:
        return os.path.basename(os.readlink(f"{sysfs(name)}/driver"))
    except FileNotFoundError:
        return None


def _has_taken(name, driver):
    """Asserts that a driver has the device, and waits until its probe is done.

    The kernel shows the driver before that. A second bind waits for the device's lock, and is
    refused.
    """
    assert driver_of(name) == driver
    if not is_virtual(name):
        try:
            _write(f"{PCI}/drivers/{driver}/bind", name)
        except OSError as error:
            assert error.errno == errno.EBUSY
        assert driver_of(name) == driver


def bind(name, driver=DRIVER):
    """Gives a device that has no driver to one; creates a virtual device that was removed."""
    if is_virtual(name):
        mediated.create_again(name)
    else:
        _write(f"{PCI}/devices/{name}/driver_override", driver)
        _write(f"{PCI}/drivers_probe", name)
    _has_taken(name, driver)


def unbind(name):
    """Unbinds a device, or removes a virtual one; waits as long as someone has it open."""
    if is_virtual(name):
        mediated.remove(name)
    else:
        _write(f"{PCI}/devices/{name}/driver/unbind", name)


def rebind(bdf, driver=DRIVER):
    """Binds a physical device to a driver, which is loaded if need be, in place of any other."""
    if not is_loaded(driver):
        load(driver)
    if driver_of(bdf) == driver:
        _has_taken(bdf, driver)
    else:
        if driver_of(bdf):
            unbind(bdf)
        bind(bdf, driver)


def reload(names, **parameters):
    """Loads the modules afresh with other parameters."""
    for name in names:
        if driver_of(name):
            unbind(name)
    unload()
    load(**parameters)
    for name in names:
        bind(name)


def shown(name, line="container_dirty"):
    """Returns the value of a line of the device's status in debugfs."""
    path = pathlib.Path("/sys/kernel/debug", DRIVER, name, "migration")
    text = path.read_text(encoding="ascii")
    return dict(one.split(": ", 1) for one in text.splitlines())[line]
