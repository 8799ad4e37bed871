# SPDX-License-Identifier: GPL-2.0-only
"""Every value of device_state is written in every state."""

import errno

import pytest

from lib.errnos import error_of, refused
from lib.protocols.region_2018 import (
    CANCELLED,
    DEVICE_STATE,
    FAILED,
    NONE,
    PRECOPY,
    RESUME,
    RESUME_COMPLETED,
    RUNNING,
    RUNS,
    SAVE_COMPLETED,
    SETUP,
    STATES,
    STOPNCOPY,
    STOPPED,
)

# The values that each state takes; any other is EINVAL.
AFTER = {
    NONE: {NONE, RUNNING, STOPNCOPY, RESUME, FAILED, CANCELLED},
    RUNNING: {NONE, RUNNING, SETUP, STOPNCOPY, RESUME, FAILED, CANCELLED},
    SETUP: {RUNNING, SETUP, PRECOPY, STOPNCOPY, FAILED, CANCELLED},
    PRECOPY: {RUNNING, PRECOPY, STOPNCOPY, FAILED, CANCELLED},
    # SAVE_COMPLETED follows once everything was taken, RESUME_COMPLETED once the image is whole.
    STOPNCOPY: {RUNNING, STOPNCOPY, FAILED, CANCELLED},
    SAVE_COMPLETED: {RUNNING, SAVE_COMPLETED, FAILED, CANCELLED},
    RESUME: {RESUME, FAILED, CANCELLED},
    RESUME_COMPLETED: {RUNNING, RESUME_COMPLETED, FAILED, CANCELLED},
}
VALUES = (*range(11), 0x100, 0x10000, 0x80000000, 0x80000001, 0xFFFFFFFF)


@pytest.mark.parametrize("before", STATES)
def test_every_transition(guest, blank, before):
    region = guest.region
    for value in VALUES:
        guest.device.reset()
        fresh = guest.state()
        guest.touch(0x1234)
        touched = guest.state()
        region.reach(before, blank)
        found = error_of(region.set, DEVICE_STATE, value)
        if value not in AFTER[before]:
            assert (value, found, region.state) == (value, errno.EINVAL, before)
            continue
        after = RUNNING if value in (FAILED, CANCELLED) else value
        assert (value, found, region.state) == (value, 0, after)
        # A source loses nothing. A target is as after a reset, or has what was loaded.
        target = RESUME in (before, value) or before == RESUME_COMPLETED
        assert guest.state() == (fresh if target else touched)
        write = error_of(guest.touch, 1)
        assert write == (0 if after in RUNS else errno.EBUSY)


def test_save_is_complete_only_when_all_was_taken(guest):
    region = guest.region
    region.state = STOPNCOPY
    while region.pending() != (0, 0, 0):
        with refused():
            region.state = SAVE_COMPLETED
        assert region.state == STOPNCOPY
        assert region.get_buffer()
    region.state = SAVE_COMPLETED


def test_load_is_complete_only_with_the_whole_image(guest, blank):
    region = guest.region
    region.state = RESUME
    for part in (blank[:64], blank[64:-1], blank[-1:]):
        with refused():
            region.state = RESUME_COMPLETED
        assert region.state == RESUME
        region.set_buffer(part)
    region.state = RESUME_COMPLETED


def test_resume_again_keeps_what_came(guest, blank):
    region = guest.region
    region.state = RESUME
    region.set_buffer(blank[:1000])
    region.state = RESUME
    region.set_buffer(blank[1000:])
    region.state = RESUME_COMPLETED


@pytest.mark.parametrize("state", STATES)
def test_state_is_read_without_side_effects(guest, blank, state):
    guest.region.reach(state, blank)
    before = guest.state()
    for _ in range(5):
        assert guest.region.state == state
    assert guest.state() == before


@pytest.mark.parametrize("state", STOPPED)
def test_reset_leads_out_of_every_stopped_state(guest, blank, state):
    guest.region.reach(state, blank)
    guest.device.reset()
    assert guest.region.state == RUNNING
    guest.touch(1)
