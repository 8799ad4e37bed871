# SPDX-License-Identifier: GPL-2.0-only
"""The first protocol that leaves RUNNING owns the device; the others are busy."""

import errno

import pytest

from lib.clients import PROTOCOLS
from lib.errnos import refused
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2

# The states to which a protocol can take a running device, by the way there.
OWNED = [
    *(
        ("region_2018", way)
        for way in (
            (region_2018.NONE,),
            (region_2018.SETUP,),
            (region_2018.SETUP, region_2018.PRECOPY),
            (region_2018.STOPNCOPY,),
            (region_2018.STOPNCOPY, region_2018.SAVE_COMPLETED),
            (region_2018.RESUME,),
            (region_2018.RESUME, region_2018.RESUME_COMPLETED),
        )
    ),
    *(("region_v1", (state,)) for state in v1.STATES if state != v1.RUNNING),
    *(("v2", (state,)) for state in v2.STATES if state not in (v2.ERROR, v2.RUNNING)),
]


def own(guest, protocol, way, image):
    """Takes the device to a state; returns a data file to be closed, if there is one."""
    for state in way:
        if protocol == "v2":
            return guest.v2.set(state)
        if protocol == "region_v1":
            guest.v1.state = state
            continue
        if state == region_2018.SAVE_COMPLETED:
            guest.region.drain()
        elif state == region_2018.RESUME_COMPLETED:
            guest.region.set_buffer(image)
        guest.region.state = state
    return None


def is_busy(guest, protocol):
    """Asserts that a protocol finds the device busy."""
    if protocol == "region_2018":
        for state in range(10):
            with refused(errno.EBUSY):
                guest.region.state = state
        assert guest.region.pending() == (0, 0, 0)
        assert guest.region.get(region_2018.DATA_SIZE) == 0
    elif protocol == "region_v1":
        for state in v1.STATES:
            with refused(errno.EBUSY):
                guest.v1.state = state
        with refused(errno.EBUSY):
            guest.v1.set(v1.DATA_SIZE, 1)
        assert guest.v1.pending() == 0
        assert guest.v1.get(v1.DATA_SIZE) == 0
    else:
        for state in v2.STATES:
            with refused(errno.EBUSY):
                guest.v2.set(state)
        assert guest.v2.data_size() != 0


def state_of(guest, protocol):
    if protocol == "v2":
        return guest.v2.state
    return guest.v1.state if protocol == "region_v1" else guest.region.state


@pytest.mark.parametrize("owner,way", OWNED)
def test_the_others_are_busy(guest, blank, rng, owner, way):
    guest.touch(5)
    file = own(guest, owner, way, blank)
    registers = guest.state()
    others = [protocol for protocol in PROTOCOLS if protocol != owner]
    for other in others:
        is_busy(guest, other)
    assert state_of(guest, owner) == way[-1]
    assert guest.state() == registers
    # The owner can continue.
    if file and way[-1] in v2.SAVING:
        guest.v2.set(v2.STOP_COPY)
        image = file.drain()
        guest.v2.set(v2.RUNNING)
        guest.v2.load(image)
        assert guest.touched() == 5
    if file:
        file.close()
    guest.device.reset()
    for other in others:
        assert len(guest.save(other)) == len(blank)
        guest.run(other)


def test_no_owner_while_the_device_runs(guest, blank):
    for first in PROTOCOLS:
        for second in PROTOCOLS:
            assert guest.save(first) == blank
            guest.run(first)
            guest.load(second, blank)


def test_a_cancelled_save_is_over(guest, blank):
    guest.region.state = region_2018.SETUP
    with refused(errno.EBUSY):
        guest.v2.set(v2.PRE_COPY)
    guest.region.state = region_2018.CANCELLED
    with guest.v2.set(v2.PRE_COPY):
        with refused(errno.EBUSY):
            guest.v1.state = v1.PRE_COPY
        guest.v2.set(v2.RUNNING)
    guest.v1.state = v1.PRE_COPY
    with refused(errno.EBUSY):
        guest.region.state = region_2018.SETUP
    guest.v1.state = v1.RUNNING
    assert guest.save("region_2018") == blank
