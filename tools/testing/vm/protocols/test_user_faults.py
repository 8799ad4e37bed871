# SPDX-License-Identifier: GPL-2.0-only
"""Calls on memory that cannot be accessed, in part or at times: they fail or are short."""

import ctypes
import errno
import itertools
import mmap
import struct

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib.clients import IMAGE, IMAGE_PRECOPY, Client
from lib.errnos import refused
from lib.libc import Pages, call, libc
from lib.patience import wait_until
from lib.protocols import region_2018, v2
from lib.protocols.region_2018 import PAGE
from lib.vfio import (
    BAR0_REGION,
    CONFIG_REGION,
    DEVICE_FEATURE,
    DEVICE_GET_INFO,
    DEVICE_GET_IRQ_INFO,
    DEVICE_GET_REGION_INFO,
    DEVICE_SET_IRQS,
    FEATURE_GET,
    FEATURE_SET,
    INTX,
    EventFd,
)
from protocols.flicker import PROT_READ, Flicker

KERNEL, NOWHERE = 0xFFFF_8880_0000_0000, 1 << 63


def bad_addresses(pages, size):
    """Returns addresses of `size` bytes of which all, or the last one, cannot be read."""
    return (0, 8, KERNEL, NOWHERE, pages.bad, pages.before_bad(size - 1))


def place(guest, index, offset):
    return guest.device.regions[index].offset + offset


@pytest.mark.edu
def test_registers(guest, rng):
    """A write that cannot be read does nothing; of a longer one, the readable part counts."""
    guest.furnish(rng)
    fd, before = guest.device.fd, guest.state()
    with Pages(4096) as pages:
        for register, size in (*((r, 4) for r in edu.STATE_32), *((r, 8) for r in edu.STATE_64)):
            for address in bad_addresses(pages, size):
                for function in (libc.pwrite, libc.pread):
                    with refused(errno.EFAULT):
                        call(function, fd, address, size, place(guest, BAR0_REGION, register))
        assert guest.state() == before

        values = struct.pack("<QQ", rng.getrandbits(64), rng.getrandbits(64))
        where = place(guest, BAR0_REGION, edu.DMA_SOURCE)
        ctypes.memmove(pages.before_bad(12), values, 12)
        assert call(libc.pwrite, fd, pages.before_bad(12), 16, where) == 8
        before[edu.DMA_SOURCE] = int.from_bytes(values[:8], "little")
        assert guest.state() == before
        assert call(libc.pread, fd, pages.before_bad(12), 16, where) == 8
        assert ctypes.string_at(pages.before_bad(12), 8) == values[:8]


@pytest.mark.edu
def test_a_command_that_cannot_be_read_starts_nothing(guest, rng):
    content = guest.furnish(rng)
    guest.memory.bytes[:BUFFER_SIZE] = bytes(BUFFER_SIZE)
    guest.edu.write64(edu.DMA_SOURCE, BUFFER)
    guest.edu.write64(edu.DMA_DESTINATION, guest.IOVA)
    guest.edu.write64(edu.DMA_COUNT, BUFFER_SIZE)
    guest.region.state = region_2018.SETUP
    with Pages(4096) as pages:
        where = place(guest, BAR0_REGION, edu.DMA_COMMAND)
        for address in bad_addresses(pages, 8):
            with refused(errno.EFAULT):
                call(libc.pwrite, guest.device.fd, address, 8, where)
            assert not guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
    assert guest.region.dirty(0, 1 << 20) == set()
    assert guest.memory.bytes[:BUFFER_SIZE] == bytes(BUFFER_SIZE)
    guest.region.state = region_2018.RUNNING
    assert guest.buffer() == content


def test_configuration_space(guest):
    fd, before = guest.device.fd, guest.device.read(CONFIG_REGION, 0, 256)
    with Pages(4096) as pages:
        for function, address in itertools.product((libc.pwrite, libc.pread),
                                                   (0, KERNEL, NOWHERE, pages.bad)):
            for offset, size in ((4, 2), (0x10, 4), (0x3C, 1)):
                with refused(errno.EFAULT):
                    call(function, fd, address, size, place(guest, CONFIG_REGION, offset))
    assert guest.device.read(CONFIG_REGION, 0, 256) == before


@pytest.mark.edu
def test_ioctls(guest):
    """The argument cannot be read, can be read only in part, or cannot be written."""
    fd = guest.device.fd
    state = struct.pack("IIII", 16, FEATURE_GET | v2.MIG_DEVICE_STATE, 0, 0)
    change = struct.pack("IIIi", 16, FEATURE_SET | v2.MIG_DEVICE_STATE, v2.STOP, -1)
    with EventFd() as event:
        irqs = struct.pack("IIIIIi", 24, 0x24, INTX, 0, 1, event.fd)
        calls = {
            "info": (DEVICE_GET_INFO, struct.pack("IIIIII", 24, 0, 0, 0, 0, 0), True),
            "region": (DEVICE_GET_REGION_INFO, struct.pack("IIIIQQ", 32, 0, 0, 0, 0, 0), True),
            "interrupts": (DEVICE_GET_IRQ_INFO, struct.pack("IIII", 16, 0, 0, 0), True),
            "feature": (DEVICE_FEATURE, state, True),
            "size": (DEVICE_FEATURE,
                     struct.pack("IIQ", 16, FEATURE_GET | v2.MIG_DATA_SIZE, 0), True),
            "change": (DEVICE_FEATURE, change, False),
            "set": (DEVICE_SET_IRQS, irqs, False),
        }
        for name, (number, argument, is_answered) in calls.items():
            size = len(argument)
            with Pages(4096) as pages:
                ctypes.memmove(pages.before_bad(size - 1), argument, size - 1)
                # The kernel reads only the smallest GET_INFO of vfio.h.
                cut = pages.before_bad(12 if name == "info" else size - 1)
                ctypes.memmove(cut, argument, pages.bad - cut)
                for address in (0, 8, KERNEL, NOWHERE, pages.bad, cut):
                    with refused(errno.EFAULT):
                        call(libc.ioctl, fd, number, ctypes.c_void_p(address))
            if is_answered:
                with Pages(4096, PROT_READ) as pages:
                    ctypes.memmove(pages.address, argument, size)
                    start, length = ctypes.c_void_p(pages.address), ctypes.c_size_t(mmap.PAGESIZE)
                    assert libc.mprotect(start, length, PROT_READ) == 0
                    with refused(errno.EFAULT):
                        call(libc.ioctl, fd, number, ctypes.c_void_p(pages.address))
        assert guest.v2.state == v2.RUNNING
        # None of the calls set up an interrupt; this one works.
        guest.device.set_irq(INTX, event.fd)
        guest.edu.write32(edu.INTERRUPT_RAISE, 1)
        wait_until(event.take)
        guest.device.clear_irq(INTX)


@pytest.mark.edu
@pytest.mark.physical
@pytest.mark.container
@pytest.mark.parametrize("end", ["memory", "reset"])
def test_memory_of_a_transfer_that_cannot_be_marked(guest, rng, end):
    """The device cannot be stopped until the container knows what it has written."""
    content = guest.furnish(rng)
    start, length = ctypes.c_void_p(guest.memory.address), ctypes.c_size_t(mmap.PAGESIZE)
    guest.memory.bytes[: mmap.PAGESIZE] = bytes(mmap.PAGESIZE)
    guest.device.dirty_pages(True)
    guest.edu.start(BUFFER, guest.IOVA, BUFFER_SIZE, edu.TO_MEMORY)
    assert libc.mprotect(start, length, PROT_READ) == 0

    def cannot_be_marked():
        try:
            assert guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
        except OSError as error:
            assert error.errno == errno.EFAULT, error
            return True
        return False

    wait_until(cannot_be_marked)
    with refused(errno.EFAULT):
        guest.edu.read64(edu.DMA_COMMAND)
    with refused(errno.EFAULT):
        guest.edu.write64(edu.DMA_COUNT, 1)
    with refused(errno.EFAULT):
        guest.v2.set(v2.STOP)
    assert guest.v2.state == v2.RUNNING
    if end == "reset":
        guest.device.reset()
        guest.device.enable(6)
    assert libc.mprotect(start, length, 3) == 0
    if end == "memory":
        assert guest.edu.read64(edu.DMA_COMMAND) == edu.TO_MEMORY
        assert guest.memory.bytes[:BUFFER_SIZE] == content[:BUFFER_SIZE]
        bitmap = bytearray(guest.memory.size // 4096 // 8)
        guest.device.dirty_bitmap(guest.IOVA, bitmap)
        assert bitmap[0] & 1
        guest.v2.set(v2.STOP)
        guest.v2.set(v2.RUNNING)
    guest.works(rng)


@pytest.mark.writes_memory
def test_fields_of_region_2018_that_cannot_be_written_back(guest, rng):
    """A failed read has no effect: it stages nothing, and loses neither bytes nor pages."""
    guest.furnish(rng)
    expected = guest.save("region_2018", precopy=False)
    guest.run("region_2018")
    fd, start = guest.device.fd, guest.region.info.offset
    guest.region.state = region_2018.SETUP
    guest.write_memory(PAGE)
    guest.region.set(region_2018.START_ADDR, 0)
    guest.region.set(region_2018.TOTAL, 1 << 20)
    with Pages(4096, PROT_READ) as pages:
        def fail(field):
            for address in bad_addresses(pages, field[1]):
                with refused(errno.EFAULT):
                    call(libc.pread, fd, address, field[1], start + field[0])

        fail(region_2018.COPIED)
        fail(region_2018.TOTAL)
        # A successful read of the header would give up the bitmap.
        fail((0, region_2018.HEADER))
        copied = guest.region.get(region_2018.COPIED)
        assert region_2018.pages_of(guest.region.data_read(copied // 8 + 1), 0, copied) == {
            guest.IOVA + PAGE}
        guest.region.state = region_2018.STOPNCOPY
        guest.region.set(region_2018.THRESHOLD, 999)
        image = b""
        while True:
            fail(region_2018.DATA_SIZE)
            fail(region_2018.DATA_OFFSET)
            # The second field would give up the buffer that the first has staged.
            fail((region_2018.PRECOPY_ONLY[0], 48))
            # The second of two fields cannot be written back.
            with refused(errno.EFAULT):
                call(libc.pread, fd, pages.before_bad(8), 16, start + region_2018.DATA_OFFSET[0])
            data = guest.region.get_buffer()
            if not data:
                break
            image += data
    guest.region.state = region_2018.SAVE_COMPLETED
    # The registers of the transfer differ, and with them two checksums.
    assert len(image) == len(expected)
    assert image[:IMAGE_PRECOPY] == expected[:IMAGE_PRECOPY]
    guest.run("region_2018")


def test_fields_of_region_2018_that_cannot_be_read(guest, rng):
    """A load goes on as if the calls had not been made."""
    guest.furnish(rng)
    expected = guest.state()
    image = guest.save("region_2018")
    guest.device.reset()
    fd, region = guest.device.fd, guest.region
    with Pages(4096) as pages:
        def fail(field):
            before = region.header()
            for address in bad_addresses(pages, field[1]):
                with refused(errno.EFAULT):
                    call(libc.pwrite, fd, address, field[1], region.info.offset + field[0])
            assert region.header() == before

        fail(region_2018.DEVICE_STATE)
        region.state = region_2018.RESUME
        for at in range(0, len(image), 1000):
            region.data_write(image[at : at + 1000])
            fail(region_2018.DATA_OFFSET)
            region.set(region_2018.DATA_OFFSET, region.data_offset)
            fail(region_2018.DATA_SIZE)
            region.set(region_2018.DATA_SIZE, len(image[at : at + 1000]))
        fail(region_2018.DEVICE_STATE)
        region.state = region_2018.RESUME_COMPLETED
        region.state = region_2018.RUNNING
        guest.device.enable(6)
    assert guest.state() == expected


class Stubborn:
    """Moves data through memory that comes and goes, until all of it has moved."""

    def __init__(self, flicker):
        self.flicker = flicker
        self.faults = self.parts = self.wholes = 0

    def place(self, size):
        """Returns the address of `size` bytes of which the last may not be mapped.

        Data moves page by page, so a longer piece moves in part if its end is not mapped.
        """
        start = mmap.PAGESIZE + 5
        return self.flicker.before(start if size > start else min(5, size - 1))

    def move(self, function, fd, size, *position):
        """Repeats a call until it moves something; returns the number of bytes."""
        while True:
            try:
                count = call(function, fd, self.place(size), size, *position)
            except OSError as error:
                assert error.errno == errno.EFAULT, error
                self.faults += 1
                continue
            if count < size:
                self.parts += 1
            else:
                self.wholes += 1
            return count

    def read(self, fd, size, position):
        """Reads a piece of a region to the end."""
        data = b""
        while len(data) < size:
            left = size - len(data)
            count = self.move(libc.pread, fd, left, position + len(data))
            data += self.flicker.get(self.place(left), count)
        return data

    def write(self, fd, data, position):
        """Writes a piece of a region to the end."""
        while data:
            self.flicker.put(self.place(len(data)), data)
            count = self.move(libc.pwrite, fd, len(data), position)
            data, position = data[count:], position + count


class Through:
    """A region's client whose calls use such memory."""

    def __init__(self, client, stubborn):
        client.close()  # Only the mapping is closed.
        fd, start = client.device.fd, client.info.offset
        client.raw_read = lambda offset, size: stubborn.read(fd, size, start + offset)

        def raw_write(offset, data):
            stubborn.write(fd, data, start + offset)
            return len(data)

        client.raw_write = raw_write

        def get(field):
            return int.from_bytes(client.raw_read(*field), "little")

        def put(field, value):
            raw_write(field[0], value.to_bytes(field[1], "little"))

        client.get, client.set = get, put


def save_v2(guest, stubborn):
    image = b""
    with guest.v2.set(v2.STOP_COPY) as file:
        while True:
            size = max(IMAGE - len(image), 2)
            count = stubborn.move(libc.read, file.fd, size)
            if not count:
                return image
            image += stubborn.flicker.get(stubborn.place(size), count)


def load_v2(guest, stubborn, image):
    with guest.v2.set(v2.RESUMING) as file:
        while image:
            stubborn.flicker.put(stubborn.place(len(image)), image)
            image = image[stubborn.move(libc.write, file.fd, len(image)) :]
        guest.v2.set(v2.RUNNING)


@pytest.mark.precopy
@pytest.mark.parametrize("protocol", ["region_2018", "region_v1", "v2"])
def test_memory_that_comes_and_goes(bdfs, rng, protocol):
    """Another thread keeps unmapping the memory of each call; no byte is lost or doubled."""
    with Client(bdfs[0], use_mmap=False) as guest, Flicker() as flicker:
        guest.furnish(rng)
        registers = guest.state()
        expected = guest.save(protocol)
        guest.run(protocol)
        stubborn = Stubborn(flicker)
        if protocol == "region_2018":
            Through(guest.region, stubborn)
        elif protocol == "region_v1":
            Through(guest.v1, stubborn)
        for _ in range(50):
            image = save_v2(guest, stubborn) if protocol == "v2" else guest.save(protocol)
            assert image == expected
            guest.run(protocol)
            guest.device.reset()
            if protocol == "v2":
                load_v2(guest, stubborn, image)
            else:
                guest.load(protocol, image)
            guest.device.enable(6)
            assert guest.state() == registers
            seen = min(stubborn.faults, stubborn.wholes)
            if seen > 10 and (stubborn.parts or protocol == "region_v1"):
                break
        assert stubborn.faults > 10 and stubborn.wholes > 10, vars(stubborn)
        # QEMU accesses the v1 region by 8 bytes at most.
        assert stubborn.parts > 0 or protocol == "region_v1", vars(stubborn)


@pytest.mark.writes_memory
def test_a_query_into_memory_that_comes_and_goes(guest):
    """Each written page is reported once, however often the read fails."""
    with Flicker() as flicker:
        stubborn = Stubborn(flicker)
        fd, region = guest.device.fd, guest.region
        region.state = region_2018.SETUP
        for page in range(8):
            guest.write_memory(page * PAGE, 64)
            region.set(region_2018.START_ADDR, guest.IOVA)
            region.set(region_2018.TOTAL, 64)
            copied = stubborn.read(fd, 8, region.info.offset + region_2018.COPIED[0])
            copied = int.from_bytes(copied, "little")
            bitmap = stubborn.read(fd, copied // 8, region.info.offset + region.data_offset)
            assert region_2018.pages_of(bitmap, guest.IOVA, copied) == {
                guest.IOVA + page * PAGE
            }
        assert stubborn.faults > 0
