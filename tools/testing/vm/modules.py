# SPDX-License-Identifier: GPL-2.0-only
"""Loading the modules and binding devices through sysfs."""

import os
import pathlib
import subprocess

DRIVER = "edu_vfio_pci"
PCI = "/sys/bus/pci"
EDU = ("0x1234", "0x11e8")


def find_devices():
    """Returns the addresses of all edu devices, in order."""
    return sorted(
        device.name
        for device in pathlib.Path(PCI, "devices").iterdir()
        if ((device / "vendor").read_text().strip(), (device / "device").read_text().strip()) == EDU
    )


def run(*command):
    """Runs a command that may fail; returns exit status and all output."""
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return result.returncode, result.stdout


def load(**parameters):
    """Loads the driver, with the library that it needs."""
    status, output = run(
        "modprobe", DRIVER, *(f"{name}={value}" for name, value in parameters.items())
    )
    assert status == 0, output


def unload():
    status, output = run("modprobe", "-r", DRIVER)
    assert status == 0, output


def is_loaded(name=DRIVER):
    return os.path.isdir(f"/sys/module/{name}")


def _write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def driver_of(bdf):
    """Returns the name of the device's driver, None without one."""
    try:
        return os.path.basename(os.readlink(f"{PCI}/devices/{bdf}/driver"))
    except FileNotFoundError:
        return None


def bind(bdf):
    _write(f"{PCI}/devices/{bdf}/driver_override", DRIVER)
    _write(f"{PCI}/drivers_probe", bdf)
    assert driver_of(bdf) == DRIVER


def unbind(bdf):
    """Takes the device from its driver; waits as long as someone has it open."""
    _write(f"{PCI}/devices/{bdf}/driver/unbind", bdf)


def reload(bdfs, **parameters):
    """Loads the modules afresh with other parameters."""
    for bdf in bdfs:
        if driver_of(bdf):
            unbind(bdf)
    unload()
    load(**parameters)
    for bdf in bdfs:
        bind(bdf)
