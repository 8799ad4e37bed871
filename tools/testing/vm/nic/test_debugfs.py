# SPDX-License-Identifier: GPL-2.0-only
"""What debugfs shows of a virtual function."""

import pathlib

from nic import host
from nic.conftest import MACS
from nic.guest import NicGuest


def lines(bdf):
    """Returns the lines of the file."""
    return pathlib.Path(f"/sys/kernel/debug/{host.DRIVER}/{bdf}/device").read_text().splitlines()


def test_rings_and_requests(functions, peer):
    with NicGuest(functions[0]) as guest:
        assert lines(guest.bdf)[0] == "receive 0: enabled 0, head 0, tail 0, descriptors 0"
        guest.begin(MACS[0])
        assert not guest.vf.accepts(0x55)
        assert guest.vf.set_vlan(55)
        peer.send(host.frame(MACS[0], peer.mac, b"one"))
        guest.receive()
        guest.send(host.frame(peer.mac, MACS[0], b"two"))
        shown = lines(guest.bdf)
        slots = guest.receiver.slots
        assert shown[0].startswith("receive 0: enabled 1, head 1, tail ")
        assert shown[0].endswith(f"descriptors {slots}")
        assert shown[2].startswith("transmit 0: enabled 1, head 1, tail 1, ")
        assert shown[4] == "interrupts: 0x7"
        assert shown[5:] == [
            "request: RESET refused",
            "request: SET_MAC_ADDR accepted",
            "request: SET_VLAN accepted",
            "migration: possible",
        ]
    assert lines(functions[0])[0] == "registers: nobody has the device open"
