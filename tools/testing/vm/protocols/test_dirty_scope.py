# SPDX-License-Identifier: GPL-2.0-only
"""The container counts only what the device wrote, whatever its client did first.

Type1 takes all mapped memory for dirty until a page is pinned for the device. The clients here do
only what an order says. Each queries the container twice.
"""

import contextlib

import pytest

from devices.chosen import DEVICE
from lib.modules import shown
from lib.patience import wait_until
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lib.protocols.region_v1 import RegionV1
from lib.vfio import TYPE1_IOMMU, Container, Device, Memory

pytestmark = pytest.mark.container

PAGE = region_2018.PAGE
MIB, GIB = 1 << 20, 1 << 30

# Neither 0 nor 1 GiB is in it; the first device's address mask has 28 bits.
SOMEWHERE, PAGES = 16 * MIB, 64
# It contains no power of two, nor the page below one.
HIDDEN = 16 * MIB + 128 * PAGE


class Raw(DEVICE.Workload):
    """An open device with memory at an IOVA that nothing was done with so far."""

    def __init__(self, bdf, iova=SOMEWHERE):
        self.device = Device(bdf)
        super().__init__(self.device)
        self.v2 = v2.MigrationV2(self.device)
        self.IOVA = iova
        self.files = []
        self.memory = Memory(PAGES * PAGE)
        if iova is not None:
            self.device.map(self.memory, iova)

    def map(self, iova):
        self.IOVA = iova
        self.device.map(self.memory, iova)

    def go(self, state):
        """Changes the state by v2; keeps the data file open."""
        file = self.v2.set(state)
        if file:
            self.files.append(file)

    def v1_state(self, state):
        RegionV1(self.device, use_mmap=False).state = state

    def region_state(self, state):
        region_2018.Region2018(self.device, use_mmap=False).state = state

    def query(self):
        """Returns the numbers of the pages that the container reports."""
        bitmap = bytearray(PAGES // 8)
        self.device.dirty_bitmap(self.IOVA, bitmap)
        return {(at - self.IOVA) // PAGE for at in region_2018.pages_of(bitmap, self.IOVA, PAGES)}

    def write(self, page):
        """Makes the device write a whole page."""
        self.write_memory(page * PAGE)

    def close(self):
        for file in self.files:
            file.close()
        self.device.close()


@pytest.fixture
def opened(bdfs):
    """Opens the first device, with memory at an IOVA."""
    with contextlib.ExitStack() as stack:

        def open_one(iova=SOMEWHERE):
            raw = Raw(bdfs[0], iova)
            stack.callback(raw.close)
            return raw

        yield open_one


@pytest.fixture
def raw(opened):
    return opened()


def _with(*steps):
    def run(raw):
        for step in steps:
            step(raw)

    return run


def _to(state):
    return lambda raw: raw.go(state)


def _size(raw):
    raw.v2.data_size()


def _liveness(raw):
    raw.touch(1)


# What a client does first, and whether the device runs afterwards.
ORDERS = {
    # QEMU with a paused guest, as in libvirt's save.
    "stop, size, stop-copy": (_with(_to(v2.STOP), _size, _to(v2.STOP_COPY)), False),
    "stop": (_to(v2.STOP), False),
    "stop-copy": (_to(v2.STOP_COPY), False),
    "pre-copy": (_to(v2.PRE_COPY), True),
    "size": (_size, True),
    "state": (lambda raw: raw.v2.state, True),
    "resuming": (_to(v2.RESUMING), False),
    "write": (_liveness, True),
    "read": (lambda raw: raw.read_trapped(), True),
    "reset": (lambda raw: raw.device.reset(), True),
    "region_v1 stop, stop-copy": (
        _with(lambda raw: raw.v1_state(v1.STOP), lambda raw: raw.v1_state(v1.STOP_COPY)),
        False,
    ),
    "region_v1 stop-copy": (lambda raw: raw.v1_state(v1.STOP_COPY), False),
    "region_v1 pre-copy": (lambda raw: raw.v1_state(v1.PRE_COPY), True),
    "region_2018 none": (lambda raw: raw.region_state(region_2018.NONE), False),
    "region_2018 setup": (lambda raw: raw.region_state(region_2018.SETUP), True),
    "region_2018 stop-and-copy": (lambda raw: raw.region_state(region_2018.STOPNCOPY), False),
}


def check_exact(raw, runs):
    """Asserts that the container reports each page that the device writes, if it runs, once."""
    if runs:
        raw.write(7)
        assert raw.query() == {7}
    assert raw.query() == set()


@pytest.mark.writes_memory
@pytest.mark.parametrize("order", ORDERS)
def test_tracking_begins_after(raw, count, order):
    run, runs = ORDERS[order]
    run(raw)
    raw.device.dirty_pages(True)
    raw.query()
    second = raw.query()
    count(f"{order}, then tracking: second query {len(second)} of {PAGES} pages")
    assert second == set()
    check_exact(raw, runs)


@pytest.mark.writes_memory
@pytest.mark.parametrize("order", ORDERS)
def test_tracking_begins_before(raw, count, order):
    """The first query may come before anything else."""
    run, runs = ORDERS[order]
    raw.device.dirty_pages(True)
    raw.query()
    run(raw)
    # The page that was pinned for this may be reported once.
    first = raw.query()
    second = raw.query()
    count(f"tracking, then {order}: queries {len(first)}, {len(second)} of {PAGES} pages")
    assert (len(first) <= 1, second) == (True, set())
    check_exact(raw, runs)


@pytest.mark.edu
@pytest.mark.parametrize("state", [v2.STOP, v2.STOP_COPY, v2.PRE_COPY])
def test_a_transfer_that_the_stop_waits_for(raw, state):
    raw.device.dirty_pages(True)
    raw.query()
    raw.start_to_memory(9)
    raw.go(state)
    raw.edu.wait_transfer()
    # The page that was pinned at the first access counts as well.
    assert raw.query() - {0} == {9}
    assert raw.query() == set()


@pytest.mark.writes_memory
@pytest.mark.parametrize("iova", [0, MIB, GIB, 4 * GIB, 4 * GIB - PAGES * PAGE, 1 << 37, 1 << 38],
                         ids=hex)
def test_places(opened, iova):
    """VMMs put memory there, and a guest's kernel with an IOMMU begins there."""
    raw = opened(iova)
    raw.go(v2.STOP)
    raw.device.dirty_pages(True)
    raw.query()
    assert raw.query() == set()


def about(log):
    """Returns the kernel's messages about memory that is not found."""
    return [line for line in log.take() if "no mapped page was found" in line]


# A container of virtual devices alone needs no pinned page.
@pytest.mark.writes_memory
@pytest.mark.physical
def test_memory_that_is_not_found(opened, bdfs, log):
    """The kernel logs it once; the first page that the device writes is pinned instead."""
    raw = opened(HIDDEN)
    _liveness(raw)
    raw.device.reset()
    assert not about(log)
    raw.device.dirty_pages(True)
    every = set(range(PAGES))
    for state in (v2.STOP, v2.RUNNING, v2.PRE_COPY, v2.RUNNING):
        raw.go(state)
        assert raw.query() == every
    assert shown(bdfs[0]) == "everything"
    (line,) = about(log)
    assert bdfs[0] in line
    raw.write(7)
    assert raw.query() == {7}
    assert raw.query() == set()
    assert shown(bdfs[0]) == "written"
    # The next user has another container.
    raw.close()
    assert shown(bdfs[0]) == "unknown"
    raw = opened(HIDDEN)
    raw.go(v2.STOP)
    assert len(about(log)) == 1


# These try again if nothing was mapped, as with a guest that has not set up its IOMMU.
AGAIN = ("stop, size, stop-copy", "pre-copy", "size", "write", "read", "reset",
         "region_v1 stop-copy", "region_2018 setup")


@pytest.mark.writes_memory
@pytest.mark.parametrize("order", AGAIN)
def test_memory_that_is_mapped_later(opened, bdfs, order):
    run, _ = ORDERS[order]
    raw = opened(None)
    for early in ("read", "write", "reset", "size", "state"):
        ORDERS[early][0](raw)
    raw.map(4 * GIB - PAGES * PAGE)
    if order in ("write", "read"):
        # Accesses try every 100 ms.
        wait_until(lambda: run(raw) or shown(bdfs[0]) == "written")
    run(raw)
    raw.device.dirty_pages(True)
    raw.query()
    assert raw.query() == set()
    assert shown(bdfs[0]) == "written"


@pytest.mark.physical
def test_a_container_that_tells_nothing(bdfs, log):
    with Device(bdfs[0], Container(TYPE1_IOMMU)) as device:
        client = v2.MigrationV2(device)
        client.set(v2.STOP)
        assert shown(bdfs[0]) == "not asked"
        assert not about(log)
