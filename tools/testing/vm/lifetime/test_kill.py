# SPDX-License-Identifier: GPL-2.0-only
"""The client is killed, at every step and in the middle of some."""

import time

import pytest

import accounts
import steps
from clients import PROTOCOLS, Client
from victim import Victim, occupy

# How many are killed at a random moment, for each protocol and side.
RANDOM = 6
# Most steps of one side, so that no loop is for ever.
MOST = 40


def script(protocol, side, image, rng):
    """Returns the steps of a client that has a busy guest, with a buffer for the event."""

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
    """Opens the device; a function of its own, since the guest's memory counts as a file."""
    with Client(bdf) as guest:
        guest.is_fresh()


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
