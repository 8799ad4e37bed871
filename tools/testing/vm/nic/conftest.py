# SPDX-License-Identifier: GPL-2.0-only
"""The network card, two of its virtual functions with the driver under test, and the peer.

RVFIO_NIC_DRIVER names that driver; it is igbvf_vfio_pci unless set.
"""

import os

import pytest

from nic import host
from nic.guest import NicGuest

# The stock driver does not migrate.
MIGRATE = ["test_conformance.py", "test_debugfs.py", "test_dirty.py", "test_migration.py"]
collect_ignore = MIGRATE if host.DRIVER == host.STOCK else []
# An emulated guest in an emulated machine starves beside other work; it comes if it is asked for.
if "RVFIO_NIC_MOVES" not in os.environ:
    collect_ignore.append("test_linux_guest.py")

MACS = [bytes.fromhex(f"025254000a0{number}") for number in range(2)]


@pytest.fixture(scope="session")
def card():
    """The physical function, in use and with a link."""
    card = host.Physical()
    card.set_number(2)
    card.up()
    yield card


@pytest.fixture
def functions(card):
    """The addresses of two virtual functions with the driver under test."""
    if len(card.functions()) != 2:
        card.set_number(2)
    for bdf in card.functions():
        host.bind(bdf)
    card.wait_for_link()
    return card.functions()


@pytest.fixture
def peer():
    with host.Peer() as peer:
        yield peer


@pytest.fixture
def vf(functions):
    """The first function, open, with nothing done to it."""
    with NicGuest(functions[0]) as guest:
        yield guest


@pytest.fixture
def guest(vf):
    """The first function, in use."""
    vf.begin(MACS[0])
    return vf
