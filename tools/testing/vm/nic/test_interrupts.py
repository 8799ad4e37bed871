# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of the virtual function: three MSI-X vectors."""

import time

import pytest

from devices import igbvf
from nic.conftest import MACS
from nic.guest import RECEIVED, SENT
from nic.host import frame


def quiet(guest, *vectors):
    """Asserts that vectors are not signalled for a while."""
    time.sleep(0.1)
    assert [guest.events[vector].take() for vector in vectors] == [0] * len(vectors)


@pytest.fixture(autouse=True)
def _nothing_before(guest):
    """Forgets the interrupts of the mailbox and of enabling."""
    time.sleep(0.05)
    for event in guest.events:
        event.take()


def test_of_each_packet(guest, peer):
    for number in range(5):
        peer.send(frame(MACS[0], peer.mac, b"%d" % number))
        guest.is_interrupted(RECEIVED)
        guest.receive()
        guest.send(frame(peer.mac, MACS[0], b"%d" % number))
        guest.is_interrupted(SENT)
        guest.vf.enable_interrupts()
    quiet(guest, SENT, RECEIVED)


def test_a_masked_vector_is_silent(guest, peer):
    guest.vf.write(igbvf.EIMC, igbvf.ALL_VECTORS)
    peer.send(frame(MACS[0], peer.mac, b"masked"))
    guest.receive()
    guest.send(frame(peer.mac, MACS[0], b"masked"))
    quiet(guest, SENT, RECEIVED)
    # The causes have stayed.
    guest.vf.enable_interrupts()
    guest.is_interrupted(RECEIVED)
    guest.is_interrupted(SENT)


@pytest.mark.parametrize("vector", range(igbvf.VECTORS))
def test_by_hand(guest, vector):
    for _ in range(3):
        guest.vf.write(igbvf.EICS, 1 << vector)
        guest.is_interrupted(vector)
        quiet(guest, *set(range(3)) - {vector})
        guest.vf.enable_interrupts()


def test_without_vfio_s_vectors_nothing_is_signalled(guest):
    guest.vf.signal()
    guest.vf.write(igbvf.EICS, igbvf.ALL_VECTORS)
    quiet(guest, *range(3))
    guest.vf.signal(*guest.events)
    guest.vf.write(igbvf.EICR, igbvf.ALL_VECTORS)
    guest.vf.enable_interrupts()
    guest.vf.write(igbvf.EICS, 1)
    guest.is_interrupted(0)


def test_of_the_mailbox(guest):
    """QEMU signals another vector than the one that IVAR_MISC names."""
    guest.vf.write(igbvf.IVAR_MISC, igbvf.IVAR_VALID | 1)
    assert guest.vf.set_max_frame(1518)
    guest.vf.wait(lambda: any(event.take() for event in guest.events))
