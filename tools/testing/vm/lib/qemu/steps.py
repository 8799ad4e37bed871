# SPDX-License-Identifier: GPL-2.0-only
"""Steps that tests with QEMU share: held migrations, interrupts by MSI, checks of a guest."""

import contextlib

from devices.chosen import DEVICE
from lib import damage
from lib.proxy import Proxy
from lib.qemu.machine import migrate

# The page of guest memory for MSI, and the data that the device writes there.
MSI_PAGE, MSI_DATA = 0x400000, 0x4A17

DAMAGES = damage.DAMAGES | DEVICE.DAMAGES


def wait_msi(machine):
    """Waits for the MSI."""
    machine.wait(lambda: machine.qtest.read32(MSI_PAGE) == MSI_DATA, "the MSI")


def raise_msi(machine, driver):
    """Makes the device raise an interrupt, which the guest takes but does not acknowledge."""
    driver.function.enable_msi(MSI_PAGE, MSI_DATA)
    driver.raise_interrupt()
    wait_msi(machine)
    machine.qtest.write32(MSI_PAGE, 0)


def check_msi(machine, driver):
    """Asserts that the interrupt of `raise_msi` is still raised and is delivered again."""
    wait_msi(machine)
    assert driver.has_interrupt()


def begin_held(source, target):
    """Begins a migration that lasts until it is released; returns when pre-copy is under way."""
    source.hold()
    source.migrate_to(target.listen())
    source.wait_sent()


def end_held(source, target, status="running"):
    """Releases a held migration; waits until the target's guest has that status."""
    source.release()
    source.wait_end()
    target.wait_status(status)


@contextlib.contextmanager
def at_switchover(source, target, driver):
    """Stops the guest in pre-copy, after the block that sets the device to work, and moves it.

    QEMU's own switch-over stops a guest the same way, but at a time that a test does not know.
    """
    begin_held(source, target)
    yield
    source.cmd("stop")
    assert not driver.is_busy()
    end_held(source, target, "paused")
    target.cmd("cont")


def moves(source, target, content):
    """Asserts that the guest moves, and that its device has the content of `furnish` then."""
    source.release()
    migrate(source, target)
    check_runs(target, content)


def check_runs(machine, content):
    """Asserts that the guest runs, and that its device works and has the content of `furnish`."""
    machine.wait_status()
    machine.driver.works(content)


def refuses(source, target, damage):
    """Asserts that the target refuses an image with this damage, and that the source learns it."""
    with Proxy(target.listen(), *DAMAGES[damage]) as proxy:
        source.migrate_to(proxy.address)
        assert target.wait_exit() not in (0, None)
        source.wait_end("failed")
        assert proxy.hit
