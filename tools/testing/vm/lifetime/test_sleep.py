# SPDX-License-Identifier: GPL-2.0-only
"""The host goes to sleep, unless a device is in use, of which the kernel log then tells.

Of a sleep's steps only freezing all processes is tried (pm_test): the machine's shared directories
would not survive the rest.
"""

import errno
import pathlib
import threading
import time

import pytest

from devices.edu import BUFFER, TO_MEMORY
from lib.clients import Client
from lib.errnos import error_of, refused
from lib.protocols import v2

POWER = pathlib.Path("/sys/power")
KINDS = ("freeze", "mem", "disk")
STATES = (v2.RUNNING, v2.PRE_COPY, v2.PRE_COPY_P2P, v2.STOP_COPY, v2.STOP, v2.RESUMING)


def sleep(kind="freeze"):
    """Puts the host to sleep; returns after it has woken up."""
    (POWER / "state").write_text(kind, encoding="ascii")


@pytest.fixture(autouse=True)
def _only_freeze():
    delay = pathlib.Path("/sys/module/suspend/parameters/pm_test_delay")
    before = delay.read_text(encoding="ascii")
    (POWER / "pm_test").write_text("freezer", encoding="ascii")
    delay.write_text("1", encoding="ascii")
    yield
    (POWER / "pm_test").write_text("none", encoding="ascii")
    delay.write_text(before, encoding="ascii")


@pytest.mark.parametrize("state", STATES)
def test_a_device_in_use_keeps_the_host_awake(bdfs, image, log, rng, state):
    with Client(bdfs[0]) as guest:
        guest.furnish(rng)
        file = guest.v2.reach(state, image[:100])
        before = guest.state()
        for kind in KINDS:
            with refused(errno.EBUSY):
                sleep(kind)
            assert any("cannot sleep: 1 device(s) in use" in line for line in log.take())
        assert guest.v2.state == state
        assert guest.state() == before
        if file:
            file.close()
        guest.device.reset()
        guest.works(rng)


@pytest.mark.edu
def test_a_transfer_goes_on(bdfs, rng):
    with Client(bdfs[0]) as guest:
        content = guest.furnish(rng)
        guest.edu.start(BUFFER, guest.IOVA, 4096, TO_MEMORY)
        with refused(errno.EBUSY):
            sleep()
        guest.edu.wait_transfer()
        assert guest.memory.bytes[:4096] == content


def test_the_host_sleeps_when_no_device_is_in_use(bdfs, rng):
    with Client(bdfs[0]):
        with refused(errno.EBUSY):
            sleep()
    for kind in KINDS[:2]:
        sleep(kind)
    for bdf in bdfs:
        with Client(bdf) as guest:
            guest.is_fresh()
            guest.works(rng)


def test_opening_and_sleeping_exclude_each_other(bdfs, rng, count):
    """Users open and close while the host tries to sleep; each side succeeds or gets EBUSY."""
    slept = []
    end = time.monotonic() + 60

    def try_to_sleep():
        # Ends when each has happened. A sleep freezes the users as well, and both go on together.
        while time.monotonic() < end and len(set(slept)) < 2:
            time.sleep(rng.random() * 0.4)
            slept.append(error_of(sleep))

    def open_one():
        with Client(bdfs[0]) as guest:
            guest.touch(5)
            assert guest.touched() == 5

    thread = threading.Thread(target=try_to_sleep)
    thread.start()
    opened = []
    while thread.is_alive():
        opened.append(error_of(open_one))
        time.sleep(0.05)
    thread.join()
    assert set(slept) == {0, errno.EBUSY}
    assert set(opened) <= {0, errno.EBUSY} and 0 in opened
    count(f"the host slept {slept.count(0)} times and was refused {slept.count(errno.EBUSY)} times")
