# SPDX-License-Identifier: GPL-2.0-only
"""Migration of virtual devices: between two, with a physical one, beside others at work."""

import errno
import fcntl
import itertools
import struct
import threading

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import mediated
from lib.clients import IMAGE, PROTOCOLS, Client
from lib.errnos import refused
from lib.image import Image
from lib.protocols import v2
from lib.vfio import Memory

DIRTY_PAGES = (ord(";") << 8) | 117
START, STOP, GET = 1, 2, 4


@pytest.fixture
def pair(parent):
    with Client(mediated.create(parent, 2)) as source, Client(mediated.create(parent, 2)) as target:
        yield source, target


@pytest.mark.parametrize("save,load", itertools.product(PROTOCOLS, repeat=2))
def test_between_two_on_one_physical_device(pair, rng, save, load):
    source, target = pair
    content = source.furnish(rng)
    expected = source.state()
    target.load(load, source.save(save))
    assert target.state() == expected
    assert target.buffer() == content
    target.works(rng)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("direction", ["out", "back"])
def test_with_a_physical_device(guest, passed_through, rng, protocol, direction):
    source, target = guest, passed_through
    if direction == "back":
        source, target = target, source
    content = source.furnish(rng)
    expected = source.state()
    image = source.save(protocol)
    assert len(image) == IMAGE
    target.load(protocol, image)
    assert target.state() == expected
    assert target.buffer() == content
    target.works(rng)


def test_the_images_of_both_are_the_same(guest, passed_through, rng):
    guest.furnish(rng)
    image = guest.save("v2")
    passed_through.load("v2", image)
    assert passed_through.save("v2") == image


@pytest.mark.parametrize("offset", [16, 18, 20, 22], ids=["vendor", "device", "subvendor", "subdevice"])
def test_the_image_of_another_device_is_refused(guest, rng, log, offset):
    """The identity of the PCI function is all that can differ between two edu devices."""
    guest.furnish(rng)
    image = Image.parse(guest.save("v2"))
    guest.device.reset()
    image.header[offset] ^= 1
    with guest.v2.set(v2.RESUMING) as file:
        with refused():
            file.write(image.build())
    assert any("image refused" in line for line in log.take())
    guest.device.reset()
    guest.is_fresh()


def test_two_migrate_while_eight_work(guests, rng):
    """Six compute and move data all the time; a guest moves to and fro between the other two."""
    stop = threading.Event()
    errors, rounds = [], [0] * 8

    def work(number):
        guest = guests[number]
        content = bytes([number + 1]) * 128
        try:
            while not stop.is_set():
                guest.fill(content)
                assert guest.edu.factorial(number + 3) == (6, 24, 120, 720, 5040, 40320, 362880,
                                                           3628800)[number]
                assert guest.buffer()[:128] == content
                rounds[number] += 1
        except Exception as error:  # pylint: disable=broad-exception-caught
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2, 8)]
    for thread in threads:
        thread.start()
    source, target = guests[:2]
    for _ in range(4):
        content = source.furnish(rng)
        expected = source.state()
        image = b""
        with source.v2.set(v2.PRE_COPY) as file:
            image += file.drain()
            source.edu.write32(edu.LIVENESS, 77)
            expected[edu.LIVENESS] = ~77 & 0xFFFFFFFF
            source.v2.set(v2.STOP_COPY)
            image += file.drain()
        source.v2.set(v2.STOP)
        target.load("v2", image)
        assert target.state() == expected
        assert target.buffer() == content
        source.device.reset()
        source, target = target, source
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert min(rounds[2:]) >= 1, rounds


def bitmap(device, iova, size):
    """Returns the container's bitmap of dirty pages of a range."""
    buffer = Memory(4096)
    data = struct.pack("IIQQQQQ", 48, GET, iova, size, 4096, (size // 4096 + 63) // 64 * 8,
                       buffer.address)
    fcntl.ioctl(device.container, DIRTY_PAGES, data)
    bits = int.from_bytes(buffer.bytes[: size // 4096 // 8], "little")
    return {page for page in range(size // 4096) if bits >> page & 1}


def test_the_bitmap_of_the_container_is_exact(guest, rng):
    """The pages that the device wrote are dirty, and no others; before it writes, none is."""
    device, size = guest.device, guest.memory.size
    fcntl.ioctl(device.container, DIRTY_PAGES, struct.pack("II", 8, START))
    assert bitmap(device, guest.IOVA, size) == set()
    for _ in range(6):
        page = rng.randrange(size // 4096 - 2)
        offset, count = rng.randrange(4096), rng.randint(1, BUFFER_SIZE)
        guest.edu.to_memory(guest.IOVA + page * 4096 + offset, count)
        guest.edu.to_device(guest.IOVA + 4096, 4096)
        last = (page * 4096 + offset + count - 1) // 4096
        assert bitmap(device, guest.IOVA, size) == set(range(page, last + 1))
    fcntl.ioctl(device.container, DIRTY_PAGES, struct.pack("II", 8, STOP))


def test_a_stop_ends_what_is_under_way(guest, rng):
    """A transfer that the guest has begun is complete when the device is stopped."""
    content = rng.randbytes(BUFFER_SIZE)
    guest.fill(content)
    guest.edu.start(BUFFER, guest.IOVA, BUFFER_SIZE, edu.TO_MEMORY)
    guest.v2.set(v2.STOP)
    assert guest.memory.bytes[:BUFFER_SIZE] == content
    with refused(errno.EBUSY):
        guest.edu.write32(edu.LIVENESS, 1)
    guest.v2.set(v2.RUNNING)
    assert not guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
