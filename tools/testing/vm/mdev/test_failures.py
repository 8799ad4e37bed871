# SPDX-License-Identifier: GPL-2.0-only
"""A physical device that exceeds the time limit of a command.

Root keeps it busy behind the driver's back, through its BAR in sysfs. The group's machine boots
with iomem=relaxed, since the kernel refuses such a mapping otherwise.
"""

import ctypes
import errno
import mmap
import pathlib

import pytest

from devices import edu
from lib import mediated, modules
from lib.clients import Client
from lib.protocols import v2


@pytest.fixture
def registers(parent):
    """The physical device's registers, mapped; each access is 32 bits."""
    path = pathlib.Path(modules.PCI, "devices", parent, "resource0")
    with open(path, "r+b", buffering=0) as file:
        return (ctypes.c_uint32 * 64).from_buffer(mmap.mmap(file.fileno(), 4096))


@pytest.fixture
def pair(parent):
    names = [mediated.create(parent, 2) for _ in range(2)]
    with Client(names[0]) as one, Client(names[1]) as other:
        yield one, other


def is_computing(registers):
    return registers[edu.STATUS // 4] & edu.COMPUTING


def has_failed(guest):
    """Returns whether the guest's device has failed, and resets it."""
    try:
        guest.v2.set(v2.STOP)
    except OSError as error:
        assert error.errno == errno.EIO
        return True
    finally:
        guest.device.reset()
    return False


def test_the_end_of_another_command_is_not_taken_for_its_own(registers, pair):
    """The driver gives up after two seconds; the next guest fails, or gets its own result."""
    # The longest computation: some seconds.
    registers[edu.FACTORIAL // 4] = 0xFFFFFFFF
    assert is_computing(registers)
    failures = 0
    while pair[failures % 2].edu.factorial(7) != 5040:
        assert has_failed(pair[failures % 2])
        failures += 1
    print("failed before that:", failures)
    for guest in pair:
        assert guest.edu.factorial(6) == 720
        assert not has_failed(guest)
        guest.is_fresh()
