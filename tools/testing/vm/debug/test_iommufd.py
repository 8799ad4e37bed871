# SPDX-License-Identifier: GPL-2.0-only
"""A device that an iommufd owns: attached to one address space, to another, and to none.

The internal buffer, which needs the driver's own memory, can be moved in each case.
"""

import errno
import os
import threading
import time

import pytest

from devices.edu import BUFFER_SIZE
from lib import modules, plug
from lib.clients import Client
from lib.errnos import error_of, refused
from lib.guest import Guest
from lib.iommufd import IommuFd
from lib.protocols import v2
from lib.vfio import Container, Device, Memory, sysfs


class Unattached(IommuFd):
    """An iommufd that attaches no device."""

    def open(self, path):
        return self.bind(path)


@pytest.fixture
def stray(bdfs):
    """The first device, bound to an iommufd and attached to nothing."""
    with Client(bdfs[0], space=Unattached()) as guest:
        yield guest


def test_all_there_is(user, rng):
    """Registers, DMA, migration and reset work on a device that is attached."""
    user.furnish(rng)
    user.device.reset()
    user.is_fresh()
    user.works(rng)


@pytest.mark.edu
def test_a_device_that_is_attached_to_nothing(stray):
    """It is opened, computes and is reset; the internal buffer migrates, though unseen."""
    assert stray.edu.factorial(5) == 120
    image = stray.v2.save()
    assert stray.v2.state == v2.STOP
    stray.v2.set(v2.RUNNING)
    stray.v2.load(image)
    stray.device.reset()
    assert stray.edu.factorial(6) == 720


@pytest.mark.edu
def test_the_buffer_is_kept_by_a_migration_while_attached_to_nothing(stray, rng):
    space, fd = stray.device.space, stray.device.fd
    space.attach(fd)
    content = rng.randbytes(BUFFER_SIZE)
    stray.fill(content)
    space.detach(fd)
    image = stray.v2.save()
    assert content in image
    stray.v2.set(v2.RUNNING)
    stray.device.reset()
    stray.v2.load(image)
    space.attach(fd)
    assert stray.buffer() == content


@pytest.mark.edu
def test_a_device_moves_to_another_address_space(user, rng):
    """It reaches the memory of the new one, also after each save and load."""
    space, fd = user.device.space, user.device.fd
    content = rng.randbytes(BUFFER_SIZE)
    user.fill(content)
    memories = [Memory(BUFFER_SIZE), Memory(BUFFER_SIZE)]
    spaces = [space.allocate(), space.allocate()]
    for memory, ioas in zip(memories, spaces):
        space.map(memory.address, 0x10000, BUFFER_SIZE, ioas)
    for round_ in range(4):
        number = round_ % 2
        space.attach(fd, spaces[number])
        image = user.v2.save(precopy=bool(round_ & 2))
        user.v2.set(v2.RUNNING)
        user.v2.load(image)
        for memory in memories:
            memory.bytes[:] = bytes(BUFFER_SIZE)
        user.edu.to_memory(0x10000)
        assert memories[number].bytes[:] == content
        assert memories[1 - number].bytes[:] == bytes(BUFFER_SIZE)


@pytest.mark.edu
def test_a_device_is_closed_attached_to_nothing(bdfs, rng):
    """Nothing of its state is left for the next user."""
    with Guest(bdfs[0], space=IommuFd()) as guest:
        guest.fill(rng.randbytes(BUFFER_SIZE))
        guest.touch(0x1234)
        guest.device.space.detach(guest.device.fd)
    with Client(bdfs[0], space=IommuFd()) as guest:
        guest.is_fresh()


@pytest.mark.edu
def test_one_way_after_the_other(bdfs, rng):
    for space in (Container, IommuFd, Unattached, Container, IommuFd):
        with Client(bdfs[0], space=space()) as guest:
            assert guest.edu.factorial(5) == 120
            guest.v2.save()
            guest.v2.set(v2.RUNNING)
            guest.touch(rng.getrandbits(32))


@pytest.mark.edu
def test_an_image_goes_from_one_way_to_the_other(bdfs, rng):
    with Client(bdfs[0], space=Container()) as source, \
            Client(bdfs[1], space=IommuFd()) as target:
        for one, other in ((source, target), (target, source)):
            content = one.furnish(rng)
            expected = one.state()
            other.v2.load(one.v2.save())
            assert other.state() == expected
            assert other.buffer() == content
            one.device.reset()


@pytest.mark.edu
def test_only_one_has_the_device(bdfs, user):
    with refused(errno.EBUSY):
        Device(bdfs[0], Container()).close()
    space = IommuFd()
    with refused(errno.EINVAL):
        space.open(sysfs(bdfs[0]))
    space.close()
    assert user.edu.factorial(5) == 120


def test_nothing_is_done_with_a_device_that_is_bound_to_nothing(bdfs):
    (name,) = os.listdir(f"{sysfs(bdfs[0])}/vfio-dev")
    fd = os.open(f"/dev/vfio/devices/{name}", os.O_RDWR)
    try:
        with refused(errno.EINVAL):
            os.pread(fd, 4, 0)
    finally:
        os.close(fd)


def test_a_device_that_was_lost_stays_cut_off(bdfs, rng):
    """The user may detach it, and cannot attach it to memory again before it was closed."""
    assert plug.BDF not in bdfs
    modules.rebind(plug.BDF)
    with Client(plug.BDF, space=IommuFd()) as guest:
        space, fd = guest.device.space, guest.device.fd
        guest.furnish(rng)
        with guest.v2.set(v2.PRE_COPY) as file:
            thread = threading.Thread(target=error_of, args=(file.read,))
            thread.start()
            time.sleep(0.02)
            plug.power(False)
            try:
                thread.join(10)
                assert not thread.is_alive()
            finally:
                plug.power(True)
        assert guest.v2.state == v2.ERROR
        for ioas in (space.ioas, space.allocate()):
            with refused(errno.EIO):
                space.attach(fd, ioas)
        space.detach(fd)
        with refused(errno.EIO):
            space.attach(fd)
        with refused(errno.EIO):
            guest.device.reset()
    with Client(plug.BDF, space=IommuFd()) as guest:
        guest.is_fresh()
        guest.works(rng)


@pytest.mark.hang(900)
def test_nobody_waits_while_memory_is_pinned(user, rng):
    """Attaching pins all memory of the address space; registers and states do not wait for that."""
    space, fd = user.device.space, user.device.fd
    memory, other = Memory(1 << 29), space.allocate()
    space.map(memory.address, 0, memory.size, other)
    waits = []
    thread = threading.Thread(target=space.attach, args=(fd, other))
    begun = time.monotonic()
    thread.start()
    while thread.is_alive():
        since = time.monotonic()
        user.touch(rng.getrandbits(32))
        assert user.v2.state == v2.RUNNING
        waits.append(time.monotonic() - since)
    total = time.monotonic() - begun
    assert len(waits) > 4 and max(waits) < total / 4, (total, max(waits))
    space.attach(fd)
    user.works(rng)


@pytest.mark.edu
@pytest.mark.hang(900)
def test_moving_and_saving_at_once(user, rng):
    """One thread attaches and detaches, another saves and loads: each pass sees one of the two."""
    space, fd = user.device.space, user.device.fd
    content = rng.randbytes(BUFFER_SIZE)
    user.fill(content)
    other = space.allocate()
    done, failures, moves = threading.Event(), [], []

    def move():
        try:
            while not done.is_set():
                for act in (lambda: space.attach(fd, other), lambda: space.detach(fd),
                            lambda: space.attach(fd)):
                    act()
                    moves.append(1)
                    time.sleep(rng.random() / 20)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        for round_ in range(12):
            image = user.v2.save(precopy=bool(round_ % 2))
            assert content in image
            user.v2.set(v2.RUNNING)
            user.v2.load(image)
    finally:
        done.set()
        thread.join()
    assert not failures
    assert len(moves) > 12
    assert user.buffer() == content
    assert user.edu.factorial(5) == 120
