# SPDX-License-Identifier: GPL-2.0-only
"""A driver that finds dirty pages when it is asked, and one that reads the user's memory.

The driver is in tools/testing/found: the device's transfers count as written once they are done.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import struct
import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import modules
from lib.errnos import error_of
from lib.iommufd import MAP_READABLE, MAP_WRITEABLE, IommuFd
from lib.patience import SLOWNESS, wait_until
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lib.protocols.region_v1 import RegionV1
from lib.userfault import make_lazy
from lib.vfio import MAP_READ, MAP_WRITE, THROUGH_IOMMUFD, Device, Memory

pytestmark = pytest.mark.physical

FOUND = "found_vfio_pci"
ADDRESS, LENGTH, VALUE, SUM, HELD = range(0x100, 0x128, 8)

PAGE = region_2018.PAGE
IOVA, PAGES = 16 << 20, 64
EVERY = set(range(PAGES))
MOST = 64 << 10


class Found:
    """An open device, with memory."""

    def __init__(self, bdf):
        self.device = Device(bdf)
        self.edu = edu.Edu(self.device)
        self.v2 = v2.MigrationV2(self.device)
        self.memory = Memory(PAGES * PAGE)
        self.device.map(self.memory, IOVA)
        self.files = []

    def close(self):
        for file in self.files:
            file.close()
        self.device.close()

    def go(self, state):
        file = self.v2.set(state)
        if file:
            self.files.append(file)

    def start(self, page):
        """Makes the device begin to write a page."""
        self.edu.start(BUFFER, IOVA + page * PAGE, BUFFER_SIZE, edu.TO_MEMORY)

    def write(self, *pages):
        for page in pages:
            self.start(page)
            self.edu.wait_transfer()

    def container(self):
        """Returns the numbers of the pages that the container reports."""
        bitmap = bytearray(PAGES // 8)
        self.device.dirty_bitmap(IOVA, bitmap)
        return {(at - IOVA) // PAGE for at in region_2018.pages_of(bitmap, IOVA, PAGES)}

    def look(self, register, iova, length=0):
        """Has the driver read memory; returns what the register reads."""
        self.edu.write64(ADDRESS, iova)
        self.edu.write64(LENGTH, length)
        return self.edu.read64(register)


@pytest.fixture
def bdf(functions):
    """A device that the driver has; the driver is gone afterwards."""
    bdf = functions[0]
    modules.rebind(bdf, FOUND)
    yield bdf
    modules.unbind(bdf)
    modules.unload(FOUND)


@pytest.fixture
def found(bdf):
    with contextlib.closing(Found(bdf)) as found:
        yield found


def scope(bdf):
    """Returns what debugfs shows of the container."""
    with open(f"/sys/kernel/debug/{FOUND}/{bdf}/migration", encoding="ascii") as file:
        return dict(line.strip().split(": ", 1) for line in file)["container_dirty"]


def test_queries_of_the_region(found):
    """A transfer is reported by the first query after it is done, and by no other."""
    client = region_2018.Region2018(found.device, use_mmap=False)

    def ask():
        return {(at - IOVA) // PAGE for at in client.dirty(IOVA, PAGES)}

    client.state = region_2018.SETUP
    found.start(3)
    # It takes 100 ms, so on a busy machine the first query may come after it.
    first = ask()
    found.edu.wait_transfer()
    assert sorted((first, ask()), key=len) == [set(), {3}]
    assert ask() == set()
    client.state = region_2018.PRECOPY
    # The next command forgets none.
    found.write(5, 6, 9)
    assert ask() == {5, 6, 9}
    # The stop waits for it.
    found.start(10)
    client.state = region_2018.STOPNCOPY
    assert ask() == {10}
    assert ask() == set()


@pytest.mark.container
@pytest.mark.parametrize("protocol", ("v2", "region_v1"))
def test_the_container(found, bdf, protocol):
    region = RegionV1(found.device, use_mmap=False)

    def go(v2_state, v1_state):
        if protocol == "v2":
            found.go(v2_state)
        else:
            region.state = v1_state

    # All memory is dirty before a pre-copy.
    found.write(1)
    found.device.reset()
    go(v2.STOP, v1.STOP)
    found.device.dirty_pages(True)
    for _ in range(2):
        assert found.container() == EVERY
    go(v2.RUNNING, v1.RUNNING)
    assert scope(bdf) == "everything"

    go(v2.PRE_COPY, v1.PRE_COPY)
    found.container()
    assert found.container() == set()
    assert scope(bdf) == "written"
    found.start(7)
    assert found.container() == set()
    found.edu.wait_transfer()
    # It is told some time later, at a call or an access.
    seen = set()
    wait_until(lambda: found.edu.read32(edu.LIVENESS) or seen.update(found.container()) or seen)
    assert seen == {7}
    found.write(8, 9)
    found.start(11)
    go(v2.STOP_COPY, v1.STOP_COPY)
    assert seen | found.container() >= {8, 9, 11}
    assert found.container() == set()

    # After a migration that was cancelled, and after a reset, the driver goes on.
    go(v2.RUNNING, v1.RUNNING)
    found.write(20)
    found.device.reset()
    found.write(21)
    go(v2.STOP, v1.STOP)
    assert found.container() == {20, 21}


@pytest.mark.container
def test_many_pages_while_mappings_end(found):
    """The container is told although its user maps and unmaps other memory all the time."""
    other, stop = Memory(1 << 20), threading.Event()

    def disturb():
        while not stop.is_set():
            found.device.map(other, 1 << 30)
            found.device.unmap(1 << 30, other.size)

    found.go(v2.PRE_COPY)
    found.device.dirty_pages(True)
    found.container()
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        seen = set()
        for page in (1, 2, 30, 31, 32, 63):
            found.write(page)
            seen |= found.container()
        found.go(v2.STOP_COPY)
        seen |= found.container()
    finally:
        stop.set()
        thread.join()
    assert seen >= {1, 2, 30, 31, 32, 63}


def fill(memory, rng):
    memory.bytes[:] = rng.randbytes(memory.size)
    return bytes(memory.bytes)


def test_memory_is_read(found, rng):
    content = fill(found.memory, rng)
    for at in (0, 8, 1, PAGE - 4, PAGE - 8, 3 * PAGE + 5, PAGES * PAGE - 8):
        assert found.look(VALUE, IOVA + at) == struct.unpack_from("<Q", content, at)[0]
    for at, length in ((0, 1), (PAGE - 1, 2), (7, MOST), (0, MOST), (PAGES * PAGE - MOST, MOST)):
        assert found.look(SUM, IOVA + at, length) == sum(content[at : at + length])
    assert found.look(SUM, IOVA, 0) == found.look(SUM, 0, 0) == 0


def test_a_read_marks_nothing(found):
    """Nor does it narrow what a container takes for dirty."""
    client = region_2018.Region2018(found.device, use_mmap=False)
    client.state = region_2018.SETUP
    for page in range(PAGES):
        found.look(VALUE, IOVA + page * PAGE)
    assert client.dirty(IOVA, PAGES) == set()


def test_across_mappings(found, rng):
    """Neighbours in the device's addresses need not be neighbours in memory."""
    content = fill(found.memory, rng)
    other = Memory(2 * PAGE)
    more = fill(other, rng)
    found.device.map(other, IOVA + found.memory.size)
    both = content + more
    for at in (len(content) - 1, len(content) - 4, len(content) - 7):
        assert found.look(VALUE, IOVA + at) == struct.unpack_from("<Q", both, at)[0]
    at = len(both) - MOST
    assert found.look(SUM, IOVA + at, MOST) == sum(both[at:])
    found.device.unmap(IOVA + found.memory.size, other.size)
    assert error_of(found.look, VALUE, IOVA + len(content) - 4) == errno.EINVAL


# Addresses and lengths that are not of the user's memory.
HOSTILE = (
    (0, 8),
    (IOVA - 8, 8),
    (IOVA - 4, 8),
    (IOVA + PAGES * PAGE - 4, 8),
    (IOVA + PAGES * PAGE, 8),
    (IOVA + PAGES * PAGE - PAGE, 2 * PAGE),
    (1 << 47, 8),
    ((1 << 63) - 4, 8),
    ((1 << 64) - 4, 8),
    ((1 << 64) - 8, 8),
    ((1 << 64) - 1, 2),
    ((1 << 64) - MOST, MOST),
    (IOVA + (1 << 32), 8),
)


@pytest.mark.parametrize("iova, length", HOSTILE, ids=lambda number: f"{number:#x}")
def test_hostile_addresses(found, iova, length):
    assert error_of(found.look, SUM, iova, length) == errno.EINVAL
    if length == 8:
        assert error_of(found.look, VALUE, iova) == errno.EINVAL
    assert found.look(VALUE, IOVA) == 0


def test_too_much_at_once(found):
    assert error_of(found.look, SUM, IOVA, MOST + 1) == errno.E2BIG
    assert error_of(found.look, SUM, 0, 2 * MOST) == errno.E2BIG


def test_while_the_driver_has_the_registers(found):
    """The page fault of a read might wait for them."""
    assert error_of(found.look, HELD, IOVA) == errno.EBUSY
    assert found.look(VALUE, IOVA) == 0


def test_memory_of_one_access(found, rng):
    """What it may only read can be read; what it may only write cannot."""
    memory, space = Memory(PAGE), found.device.space
    content = fill(memory, rng)
    read, write = (MAP_READABLE, MAP_WRITEABLE) if THROUGH_IOMMUFD else (MAP_READ, MAP_WRITE)
    there, elsewhere = IOVA + (1 << 24), IOVA + (2 << 24)
    space.map(memory.address, there, PAGE, access=read)
    space.map(memory.address, elsewhere, PAGE, access=write)
    assert found.look(VALUE, there + 8) == struct.unpack_from("<Q", content, 8)[0]
    assert error_of(found.look, VALUE, elsewhere + 8) == errno.EPERM


def test_memory_that_the_process_no_longer_has(found):
    """The device still reaches the pages; they are read or an error is returned, as ever."""
    gone = mmap.mmap(-1, PAGE)
    gone[:8] = b"abcdefgh"
    memory = Memory(PAGE, gone)
    iova = IOVA + (1 << 24)
    found.device.map(memory, iova)
    assert found.look(VALUE, iova) == struct.unpack("<Q", b"abcdefgh")[0]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(memory.address), PAGE, 0) == 0
    assert error_of(found.look, VALUE, iova) == errno.EFAULT
    assert libc.mprotect(ctypes.c_void_p(memory.address), PAGE, mmap.PROT_READ) == 0
    assert found.look(VALUE, iova) == struct.unpack("<Q", b"abcdefgh")[0]


def test_a_mapping_that_disappears(found, rng, count):
    """Each read returns the memory or an error, never anything else."""
    memory, stop = Memory(MOST), threading.Event()
    memory.bytes[:] = bytes([rng.randrange(1, 256)]) * MOST
    total = sum(bytes(memory.bytes))
    iova = IOVA + (1 << 24)
    errors = []

    def flicker():
        try:
            while not stop.is_set():
                found.device.map(memory, iova)
                time.sleep(0.001)
                found.device.unmap(iova, MOST)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=flicker)
    thread.start()
    results = {"read": 0, "not mapped": 0}
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                assert found.look(SUM, iova, MOST) == total
                results["read"] += 1
            except OSError as error:
                assert error.errno == errno.EINVAL
                results["not mapped"] += 1
    finally:
        stop.set()
        thread.join()
    count(f"reads of a mapping that comes and goes: {results}")
    assert not errors
    assert all(results.values())


@pytest.mark.container
def test_memory_of_another_process(found):
    """A process that has not mapped the memory has the driver read nothing of its own.

    An iommufd reads the memory of whoever has mapped it.
    """
    child = os.fork()
    if not child:
        refused = error_of(found.look, VALUE, IOVA) in (errno.EPERM, errno.EFAULT)
        os._exit(0 if refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert found.look(VALUE, IOVA) == 0


def test_a_read_that_never_ends_can_be_killed(bdf):
    """The device's pages are pinned, but the process has none in their place and serves no fault."""
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            found = Found(bdf)
            found.memory.bytes.madvise(mmap.MADV_REMOVE)
            make_lazy(found.memory)
            found.edu.write64(ADDRESS, IOVA)
            os.write(done, b"1")
            found.edu.read64(VALUE)
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"1"
    time.sleep(0.5)
    assert os.waitpid(pid, os.WNOHANG)[0] == 0
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10 * SLOWNESS
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < end, "it cannot be killed"
        time.sleep(0.05)
    with contextlib.closing(Found(bdf)) as found:
        assert found.look(VALUE, IOVA) == 0


@pytest.mark.iommufd
def test_a_device_that_is_attached_to_nothing(found, log):
    """Its memory cannot be read, and it is not migrated."""
    space, fd = found.device.space, found.device.fd
    assert isinstance(space, IommuFd)
    assert found.look(VALUE, IOVA) == 0
    for _ in range(2):
        space.detach(fd)
        assert error_of(found.look, VALUE, IOVA) == errno.EOPNOTSUPP
        log.take()
        assert error_of(found.go, v2.PRE_COPY) == errno.EOPNOTSUPP
        assert any("memory cannot be read" in line for line in log.take())
        space.attach(fd)
        assert found.look(VALUE, IOVA) == 0
    found.go(v2.PRE_COPY)


@pytest.mark.iommufd
def test_the_address_space_is_the_device_s(found, rng):
    """It follows the device to another one, and to page tables of the user's own."""
    space, fd = found.device.space, found.device.fd
    first = fill(found.memory, rng)
    other, ioas = Memory(PAGE), space.allocate()
    second = fill(other, rng)
    space.map(other.address, IOVA, PAGE, ioas)
    for _ in range(2):
        space.attach(fd, ioas)
        assert found.look(VALUE, IOVA) == struct.unpack_from("<Q", second)[0]
        assert error_of(found.look, VALUE, IOVA + PAGE) == errno.EINVAL
        space.attach(fd)
        assert found.look(VALUE, IOVA) == struct.unpack_from("<Q", first)[0]
    tables = space.allocate_tables(ioas)
    space.attach(fd, tables)
    assert error_of(found.look, VALUE, IOVA) == errno.EOPNOTSUPP
    assert error_of(found.go, v2.PRE_COPY) == errno.EOPNOTSUPP
    space.attach(fd)
    assert found.look(VALUE, IOVA) == struct.unpack_from("<Q", first)[0]
