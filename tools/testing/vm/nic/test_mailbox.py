# SPDX-License-Identifier: GPL-2.0-only
"""Requests of the virtual function, and the verdicts of the stock PF driver."""

import time

import pytest

from devices import igbvf
from nic.conftest import MACS
from nic.host import frame

OTHER = bytes.fromhex("02525400000b")
GROUP = bytes.fromhex("01005e000105")


@pytest.fixture
def admin(card):
    """The PF's administrator, whose settings are taken back."""
    yield card
    for setting in (("mac", "00:00:00:00:00:00"), ("vlan", "0"), ("trust", "off")):
        card.set_vf(0, *setting)


def test_a_request_before_the_reset_has_no_answer(vf):
    """The PF's driver says nothing for two seconds after a reset, and refuses later."""
    vf.vf.reset()
    vf.vf.write(igbvf.CTRL, igbvf.CTRL_RST)
    vf.vf.wait(lambda: not vf.vf.mailbox() & igbvf.RSTI)
    vf.vf.post(igbvf.SET_LPE, 1518)
    time.sleep(0.2)
    assert not vf.vf.take(igbvf.PFSTS)
    time.sleep(2)
    assert vf.vf.ask(igbvf.SET_LPE, 1518)[0] & igbvf.NACKED
    vf.vf.reset()
    assert vf.vf.accepts(igbvf.SET_LPE, 1518)


def test_a_reset_tells_the_mac(vf):
    assert vf.vf.reset() is None
    assert vf.vf.set_mac(OTHER)
    answer = vf.vf.ask(igbvf.RESET, answer=3)
    assert answer[0] == igbvf.RESET | igbvf.ACKED
    assert answer[1:] == list(igbvf.mac_words(OTHER))


def test_the_pf_says_that_the_function_may_send(vf):
    """igbvf's check of the link reads the last message, and wants CTS in it."""
    vf.vf.reset()
    assert vf.vf.ask(igbvf.SET_LPE, 1518) == [igbvf.SET_LPE | igbvf.ACKED | igbvf.CTS]
    assert vf.vf.read(igbvf.VMBMEM) & igbvf.CTS


def test_a_mac_that_is_none_is_refused(vf):
    vf.vf.reset()
    for mac in (bytes(6), GROUP, b"\xff" * 6):
        assert not vf.vf.set_mac(mac)
    assert vf.vf.set_mac(OTHER)


def test_a_mac_against_the_administrator_is_refused(admin, vf, peer):
    admin.set_vf(0, "mac", MACS[0].hex(":"))
    assert vf.vf.reset() == MACS[0]
    assert not vf.vf.set_mac(OTHER)
    vf.begin(MACS[0])
    for mac in (OTHER, MACS[0]):
        peer.send(frame(mac, peer.mac, mac))
    assert vf.receive() == [frame(MACS[0], peer.mac, MACS[0])]


def test_a_trusted_function_may_set_its_mac(admin, vf, peer):
    admin.set_vf(0, "mac", MACS[0].hex(":"))
    admin.set_vf(0, "trust", "on")
    assert vf.vf.reset() == MACS[0]
    vf.begin(OTHER)
    peer.send(frame(OTHER, peer.mac, b"trust"))
    assert vf.receive() == [frame(OTHER, peer.mac, b"trust")]


def test_mac_filters(guest, peer):
    data = frame(OTHER, peer.mac, b"filter")
    end = frame(MACS[0], peer.mac, b"end")
    for request, received in (
        (None, [end]),
        (igbvf.MAC_FILTER_ADD, [data, end]),
        (igbvf.MAC_FILTER_CLR, [end]),
    ):
        if request is not None:
            assert guest.vf.accepts(igbvf.SET_MAC | request, *igbvf.mac_words(OTHER))
        for one in (data, end):
            peer.send(one)
        assert guest.receive(len(received)) == received


def test_multicast(guest, peer):
    data, end = frame(GROUP, peer.mac, b"group"), frame(MACS[0], peer.mac, b"end")
    for groups, received in (((), [end]), ((OTHER, GROUP), [data, end]), ((), [end])):
        assert guest.vf.set_multicast(*groups)
        before = guest.vf.read(igbvf.VFMPRC)
        for one in (data, end):
            peer.send(one)
        assert guest.receive(len(received)) == received
        assert guest.vf.read(igbvf.VFMPRC) - before == len(received) - 1


def test_promiscuous_modes(guest):
    """The PF's driver knows that for multicasts, and that for unicasts not."""
    assert guest.vf.accepts(igbvf.SET_PROMISC | igbvf.PROMISC_MULTICAST)
    assert not guest.vf.accepts(igbvf.SET_PROMISC | 4 << 16)
    assert guest.vf.accepts(igbvf.SET_PROMISC)


def test_vlans_against_the_administrator_are_refused(admin, guest):
    assert guest.vf.set_vlan(7)
    assert guest.vf.set_vlan(7, on=False)
    admin.set_vf(0, "vlan", "9")
    guest.vf.reset()
    assert not guest.vf.set_vlan(7)
    assert not guest.vf.set_vlan(9)


def test_every_frame_size_is_accepted(vf):
    """The PF's driver cuts the number to the width of its register."""
    vf.vf.reset()
    for size in (0, 1518, 9728, 1 << 20):
        assert vf.vf.set_max_frame(size)


def test_an_unknown_request_is_refused(vf):
    vf.vf.reset()
    assert not vf.vf.accepts(0x77)
    assert vf.vf.accepts(igbvf.SET_LPE, 1518)


def test_the_buffer_belongs_to_one_at_a_time(vf):
    vf.vf.reset()
    vf.vf.write(igbvf.V2PMAILBOX, igbvf.VFU)
    assert vf.vf.mailbox() & (igbvf.VFU | igbvf.PFU) == igbvf.VFU
    vf.vf.write(igbvf.VMBMEM + 60, 0x12345678)
    assert vf.vf.read(igbvf.VMBMEM + 60) == 0x12345678
    vf.vf.write(igbvf.V2PMAILBOX, 0)
    assert not vf.vf.mailbox() & igbvf.VFU
