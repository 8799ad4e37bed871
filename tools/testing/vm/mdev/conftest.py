# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests of virtual devices."""

import pytest

from devices import chosen
from lib import mediated, modules
from lib.clients import Client

# The tests are about edu_mdev.
collect_ignore_glob = [] if chosen.NAME == "edu" else ["*"]


@pytest.fixture
def parent(functions):
    """The first physical device, without virtual ones."""
    bdf = functions[0]
    modules.rebind(bdf, mediated.DRIVER)
    mediated.clear(bdf)
    yield bdf
    if modules.driver_of(bdf) == mediated.DRIVER:
        mediated.clear(bdf)


@pytest.fixture
def name(parent):
    """A virtual device that has the physical one for itself."""
    return mediated.create(parent, 1)


@pytest.fixture
def guest(name):
    """The virtual device, open, with a client for each protocol."""
    with Client(name) as guest:
        yield guest


@pytest.fixture
def names(parent):
    """All eight virtual devices that there can be."""
    return [mediated.create(parent, 8) for _ in range(8)]


@pytest.fixture
def guests(names):
    """Eight virtual devices, open."""
    clients = []
    try:
        for name in names:
            clients.append(Client(name))
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.fixture
def passed_through(functions):
    """The second physical device, passed through as a whole, open."""
    modules.rebind(functions[1], modules.VARIANT)
    with Client(functions[1]) as guest:
        yield guest
