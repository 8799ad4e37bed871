# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests that need the debug kernel."""

import os

import pytest

from lib.clients import Client
from lib.iommufd import IommuFd
from lib.protocols.dma_logging import DmaLogging
from lib.vfio import Container


@pytest.fixture(scope="session", autouse=True)
def _debug_kernel():
    if not os.uname().release.endswith("-rvfio-debug"):
        pytest.exit("these tests need the debug kernel: RVFIO_KERNEL=debug", returncode=3)


@pytest.fixture(params=("container", "iommufd"))
def space(request):
    """The address space of a device's DMA: a container's or an iommufd's."""
    return IommuFd() if request.param == "iommufd" else Container()


@pytest.fixture
def guest(bdfs, space):
    """The first device, opened in either space, with a client for each protocol."""
    with Client(bdfs[0], space=space) as guest:
        guest.log = DmaLogging(guest.device)
        yield guest


@pytest.fixture
def user(bdfs):
    """The first device, opened through an iommufd, with a client for each protocol."""
    with Client(bdfs[0], space=IommuFd()) as guest:
        guest.log = DmaLogging(guest.device)
        yield guest
