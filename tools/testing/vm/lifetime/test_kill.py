# SPDX-License-Identifier: GPL-2.0-only
"""The client is killed after every step of a migration, and in the middle of some."""

import os
import time

import pytest

from lib.clients import PROTOCOLS, Client
from devices.edu_image import Image
from lib.patience import SLOWNESS
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lifetime import accounts, steps
from lifetime.victim import Victim, occupy

# The number of clients killed at a random moment, for each protocol and side.
RANDOM = 6
# The largest number of steps of one side, so that no loop is endless.
MOST = 40


def script(protocol, side, image, rng):
    """Returns the steps of a client that has a busy guest and migrates it."""

    def live(guest):
        event = occupy(guest, rng)
        yield "busy"
        if side == "source":
            yield from steps.SAVE[protocol](guest, bytearray())
        else:
            yield from steps.LOAD[protocol](guest, image)
        event.close()

    return live


def find_fresh(bdf):
    """Asserts that the device is fresh.

    On return the guest's memory, which counts as an open file, is gone."""
    with Client(bdf) as guest:
        guest.is_fresh()


def load_at_once(guest, protocol, image):
    """Loads an image by one call, or as one buffer."""
    if protocol == "v2":
        with guest.v2.set(v2.RESUMING) as file:
            yield "RESUMING"
            os.write(file.fd, image)
    elif protocol == "region_v1":
        guest.v1.state = v1.RESUMING
        guest.v1.data_write(image)
        yield "RESUMING"
        guest.v1.set(v1.DATA_SIZE, len(image))
    else:
        guest.region.state = region_2018.RESUME
        guest.region.data_write(image)
        guest.region.set(region_2018.DATA_OFFSET, guest.region.data_offset)
        yield "RESUME"
        guest.region.set(region_2018.DATA_SIZE, len(image))
    yield "loaded"


@pytest.mark.edu
@pytest.mark.physical
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_killed_while_the_device_takes_much(bdfs, rng, image, protocol):
    """Each buffer section of an image takes the device 100 ms, and an image may have any number."""
    before = accounts.held()
    # The data section has room for so many: 6 seconds, or a minute with v2.
    hostile = Image.parse(image).delay(600 if protocol == "v2" else 60).build()

    victim = Victim(bdfs[0], lambda guest: load_at_once(guest, protocol, hostile))
    assert victim.step()
    victim.begin_step()
    time.sleep(0.5)
    begin = time.monotonic()
    victim.kill()
    assert time.monotonic() - begin < 3 * SLOWNESS
    accounts.returns_to(before)
    find_fresh(bdfs[0])
    find_working(bdfs[0], rng)


def find_working(bdf, rng):
    with Client(bdf) as guest:
        guest.works(rng)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_killed_after_each_step(bdfs, rng, image, count, protocol, side):
    before = accounts.held()
    for last in range(MOST):
        victim = Victim(bdfs[0], script(protocol, side, image, rng))
        is_left = all(victim.step() for _ in range(last + 1))
        victim.kill()
        accounts.returns_to(before)
        find_fresh(bdfs[0])
        accounts.returns_to(before)
        if not is_left:
            break
    else:
        raise AssertionError("the steps do not end")
    find_working(bdfs[0], rng)
    count(f"killed after each of {last} steps of a {side} ({protocol})")


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_killed_at_any_moment(bdfs, rng, image, protocol, side):
    before = accounts.held()
    for _ in range(RANDOM):
        victim = Victim(bdfs[0], script(protocol, side, image, rng))
        for _ in range(rng.randint(0, 5)):
            victim.step()
        victim.begin_step()
        time.sleep(rng.random() * 0.12)
        victim.kill()
        accounts.returns_to(before)
        find_fresh(bdfs[0])
        accounts.returns_to(before)
