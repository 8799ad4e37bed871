# SPDX-License-Identifier: GPL-2.0-only
"""The states of v2: all pairs, and a reset from each."""

import errno
import struct
import time

import pytest

from devices import edu
from lib import modules
from lib.clients import IMAGE, IMAGE_PRECOPY, Client
from lib.errnos import error_of, refused
from lib.patience import wait_until
from lib.protocols import v2
from lib.vfio import FEATURE_SET

SETTABLE = tuple(state for state in v2.STATES if state != v2.ERROR)
# The states in which the guest's register writes reach the device.
WRITABLE = (v2.RUNNING, v2.PRE_COPY)


@pytest.mark.parametrize("before", SETTABLE)
@pytest.mark.parametrize("whole", [True, False])
def test_every_pair(guest, blank, before, whole):
    """`whole` says whether the image that is loaded is complete."""
    for after in v2.STATES:
        guest.device.reset()
        fresh = guest.state()
        guest.touch(0x1234)
        old = guest.v2.reach(before, blank if whole else blank[:-1])
        registers = guest.state()
        stuck = before == v2.RESUMING and after != before and not whole
        if stuck or v2.path(before, after) is None:
            with refused(errno.EINVAL):
                guest.v2.set(after)
            assert guest.v2.state == before
            assert guest.state() == registers
            if before in v2.SAVING:
                assert old.read(1)
            elif before == v2.RESUMING and not whole:
                old.write(blank[-1:])
        else:
            new = guest.v2.set(after)
            assert guest.v2.state == after
            assert (new is not None) == v2.begins(before, after), (before, after)
            if old and (new or after not in (before, *v2.SAVING)):
                old.is_dead()
            elif old and after in v2.SAVING:
                assert old.read(1)
            if new and after in v2.SAVING:
                assert new.read(1)
            elif new:
                new.write(blank[:1])
            if new:
                new.close()
            expected = fresh if after == v2.RESUMING != before else registers
            assert guest.state() == expected
            write = error_of(guest.touch, 1)
            assert write == (0 if after in WRITABLE else errno.EBUSY)
        if old:
            old.close()


@pytest.mark.parametrize("before", SETTABLE)
def test_states_that_there_are_not(guest, blank, before):
    file = guest.v2.reach(before, blank)
    for state in (v2.ERROR, 8, 9, 0x100, 0x7FFFFFFF, 0x80000000, 0x80000002, 0xFFFFFFFF):
        data = struct.pack("Ii", state, -1)
        with refused(errno.EINVAL):
            guest.device.feature(FEATURE_SET | v2.MIG_DEVICE_STATE, data)
        assert guest.v2.state == before
    if before in v2.SAVING:
        guest.v2.set(v2.STOP_COPY)
        assert len(file.drain()) == IMAGE
    if file:
        file.close()


def test_what_comes_in_with_a_state_does_not_matter(guest):
    """data_fd is output only; it is -1 if there is no file."""
    for fd in (-1, 0, 1, 1 << 30, -(1 << 31)):
        for state in (v2.STOP, v2.RUNNING_P2P, v2.RUNNING):
            data = struct.pack("Ii", state, fd)
            answer = guest.device.feature(FEATURE_SET | v2.MIG_DEVICE_STATE, data)
            assert struct.unpack("Ii", answer) == (state, -1)


@pytest.mark.parametrize("state", SETTABLE)
@pytest.mark.parametrize("part", [0, 1000])
def test_reset_from_every_state(guest, blank, rng, state, part):
    guest.furnish(rng)
    file = guest.v2.set(state)
    if part and file:
        if state == v2.RESUMING:
            file.write(blank[:part])
        else:
            file.read(part)
    guest.device.reset()
    if file:
        file.is_dead()
    guest.is_fresh()
    if file:
        file.is_dead()
        file.close()
    guest.works(rng)


@pytest.mark.precopy
def test_a_reset_is_as_good_as_an_abort_of_a_load(guest, blank, rng):
    guest.furnish(rng)
    for damage in (lambda file: None, lambda file: file.write(blank[:2000])):
        with guest.v2.set(v2.RESUMING) as file:
            damage(file)
            with refused():
                guest.v2.set(v2.STOP)
            guest.device.reset()
            file.is_dead()
        guest.is_fresh()


@pytest.mark.edu
@pytest.mark.physical
def test_a_stop_that_times_out_begins_no_session(bdfs):
    """The device computes for longer than a stop waits: it goes on running, without a file."""
    modules.reload(bdfs, quiesce_timeout_ms=200)
    try:
        with Client(bdfs[0]) as guest:
            guest.edu.write32(edu.FACTORIAL, 0x80000000)
            for state in (v2.STOP, v2.STOP_COPY, v2.RESUMING, v2.PRE_COPY_P2P):
                with refused(errno.ETIMEDOUT):
                    guest.v2.set(state)
                assert guest.v2.state == v2.RUNNING
            # Pre-copy does not stop the device, which can return to RUNNING.
            with guest.v2.set(v2.PRE_COPY) as file:
                with refused(errno.ETIMEDOUT):
                    guest.v2.set(v2.STOP_COPY)
                assert guest.v2.state == v2.PRE_COPY
                assert len(file.drain()) == IMAGE_PRECOPY
                assert guest.edu.read32(edu.STATUS) & edu.COMPUTING
                guest.v2.set(v2.RUNNING)
                file.is_dead()
            wait_until(lambda: not guest.edu.read32(edu.STATUS) & edu.COMPUTING, 60)
            assert len(guest.v2.save()) == IMAGE
    finally:
        modules.reload(bdfs)


def test_stopping_an_idle_device_waits_for_nothing(guest, rng):
    """After pre-copy, the rest takes no transfer of 100 ms."""
    guest.furnish(rng)
    with guest.v2.set(v2.PRE_COPY) as file:
        image = file.drain()
        begin = time.monotonic()
        guest.v2.set(v2.STOP_COPY)
        image += file.drain()
        took = time.monotonic() - begin
    assert len(image) == IMAGE
    assert took < 0.09


def test_a_whole_round_trip_of_states(guest, rng):
    """A source goes through all states before it is migrated."""
    guest.furnish(rng)
    expected = guest.state()
    image = b""
    file = None
    for state in (v2.STOP, v2.RUNNING_P2P, v2.RUNNING, v2.PRE_COPY, v2.PRE_COPY_P2P, v2.PRE_COPY,
                  v2.PRE_COPY_P2P, v2.STOP_COPY):
        file = guest.v2.set(state) or file
        if file:
            image += file.drain(99)
    file.close()
    guest.v2.set(v2.RUNNING)
    guest.device.reset()
    guest.v2.load(image)
    assert guest.state() == expected
