# SPDX-License-Identifier: GPL-2.0-only
"""A client that is stopped and continued, as by a debugger or by a frozen control group."""

import ctypes
import os
import pathlib
import signal
import time

import pytest

from devices import edu
from lib.libc import call, libc
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lifetime.victim import Victim

pytestmark = pytest.mark.edu

# The operand takes the device part of a second.
OPERAND = 0x20000000


def write_state(region, state):
    """Writes the state by the C library, since Python would repeat the call."""
    data = ctypes.create_string_buffer(state.to_bytes(4, "little"), 4)
    assert call(libc.pwrite, region.device.fd, data, 4, region.info.offset) == 4


def stop_region_2018(guest):
    write_state(guest.region, region_2018.NONE)
    assert guest.region.state == region_2018.NONE


def stop_region_v1(guest):
    write_state(guest.v1, v1.STOP)
    assert guest.v1.state == v1.STOP


def stop_v2(guest):
    guest.v2.set(v2.STOP)


@pytest.fixture
def freezer():
    """A control group that freezes."""
    root = pathlib.Path("/sys/fs/cgroup")
    if not (root / "cgroup.procs").exists():
        os.makedirs(root, exist_ok=True)
        assert os.system("mount -t cgroup2 cgroup2 /sys/fs/cgroup") == 0
    group = root / "rvfio"
    group.mkdir()
    yield group
    group.rmdir()


@pytest.mark.parametrize("stop", [stop_region_2018, stop_region_v1, stop_v2])
@pytest.mark.parametrize("how", ["signal", "freezer"])
def test_a_stop_goes_on_after_a_break(bdfs, freezer, how, stop):
    """A stop that waits for the device is interrupted; the client must not see a failure."""

    def live(guest):
        guest.edu.write32(edu.FACTORIAL, OPERAND)
        guest.edu.start(edu.BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
        yield "busy"
        stop(guest)
        yield "stopped"

    victim = Victim(bdfs[0], live)
    assert victim.step()
    victim.begin_step()
    time.sleep(0.03)
    if how == "signal":
        os.kill(victim.pid, signal.SIGSTOP)
        time.sleep(0.05)
        os.kill(victim.pid, signal.SIGCONT)
    else:
        (freezer / "cgroup.procs").write_text(str(victim.pid))
        for value in "10":
            (freezer / "cgroup.freeze").write_text(value)
            time.sleep(0.05)
    assert victim.end_step()
    victim.kill()
