# SPDX-License-Identifier: GPL-2.0-only
"""A virtual device as a PCI function: regions, configuration space, interrupts."""

import errno
import mmap
import os
import struct

import pytest

from devices import edu
from lib import vfio
from lib.errnos import refused
from lib.patience import wait_until
from lib.vfio import BAR0_REGION, CONFIG_REGION, ERR, INTX, MSI, MSIX, REQ, EventFd

BAR0 = 0x10
BAR_SIZE = 1 << 20
MSI_CAPABILITY = 0x40
INTX_DISABLE = 0x400
DATA_NONE, DATA_BOOL, DATA_EVENTFD, MASK, UNMASK, TRIGGER = (1 << bit for bit in range(6))


def config(device, offset, form):
    size = struct.calcsize(form)
    return struct.unpack(form, device.read(CONFIG_REGION, offset, size))[0]


def set_config(device, offset, form, value):
    device.write(CONFIG_REGION, offset, struct.pack(form, value))


def set_irqs(device, flags, index, count=1, start=0, data=b""):
    device.ioctl(
        vfio.DEVICE_SET_IRQS, struct.pack("IIIII", 20 + len(data), flags, index, start, count) + data
    )


def mask(device, masked):
    set_irqs(device, DATA_NONE | (MASK if masked else UNMASK), INTX)


def irq_info(device, index):
    data = bytearray(struct.pack("IIII", 16, 0, index, 0))
    device.ioctl(vfio.DEVICE_GET_IRQ_INFO, data)
    return struct.unpack("IIII", data)[1::2]


def test_it_looks_like_the_physical_function(guest, passed_through):
    """Identity, class, BAR and capabilities are those of the physical function."""
    ours, theirs = guest.device, passed_through.device
    assert ours.info()[0] == theirs.info()[0] == vfio.DEVICE_FLAGS_PCI | vfio.DEVICE_FLAGS_RESET
    assert ours.info()[1] == theirs.info()[1]
    for one, other in zip(ours.regions[:8], theirs.regions[:8]):
        assert (one.size, one.flags & 3, one.offset) == (other.size, other.flags & 3, other.offset)
    for one, other in zip(ours.regions[9:], theirs.regions[9:]):
        assert one == other
    for offset in (0, 2, 6, 8, 10, 0x0E, 0x2C, 0x2E, 0x34, 0x3D, 0x40, 0x42):
        assert config(ours, offset, "<H") == config(theirs, offset, "<H"), hex(offset)
    for device in (ours, theirs):
        set_config(device, BAR0, "<I", 0xFFFFFFFF)
        assert config(device, BAR0, "<I") == 2**32 - BAR_SIZE
    for index in (INTX, MSI, MSIX, REQ):
        # Only the number of vectors may differ.
        (flags, count), (their_flags, their_count) = irq_info(ours, index), irq_info(theirs, index)
        assert (flags & 7, count) == (their_flags & 7, their_count)


def test_only_what_is_writable_changes(guest, rng):
    device = guest.device
    writable = {0x04: 0x0546, 0x0C: 0xFF, BAR0 + 2: 0xFFF0, 0x3C: 0xFF}
    writable |= {0x42: 0x71, 0x44: 0xFFFC} | {at: 0xFFFF for at in range(0x46, 0x4E, 2)}
    before = {at: config(device, at, "<H") for at in range(0, 256, 2)}
    for at in range(0, 256, 2):
        value = rng.getrandbits(16)
        set_config(device, at, "<H", value)
        bits = writable.get(at, 0)
        assert config(device, at, "<H") == (before[at] & ~bits) | (value & bits), hex(at)


def test_accesses_end_at_the_end(guest):
    device = guest.device
    assert len(device.read(CONFIG_REGION, 250, 100)) == 6
    assert device.write(CONFIG_REGION, 252, bytes(100)) == 4
    with refused():
        device.read(CONFIG_REGION, 256, 1)
    assert len(device.read(BAR0_REGION, BAR_SIZE - 4, 8)) == 4
    with refused():
        device.read(BAR0_REGION, BAR_SIZE, 4)
    for index in (1, 6, 8, 40):
        with refused():
            os.pread(device.fd, 4, index << 40)


def test_registers_answer_with_memory_decoding_only(guest):
    device = guest.device
    device.enable(0, clear=vfio.COMMAND_MEMORY)
    with refused(errno.EIO):
        guest.edu.read32(edu.IDENTIFICATION)
    with refused(errno.EIO):
        guest.edu.write32(edu.LIVENESS, 5)
    device.enable(vfio.COMMAND_MEMORY)
    assert guest.edu.read32(edu.LIVENESS) == 0


def test_registers_cannot_be_mapped(guest):
    with refused():
        mmap.mmap(guest.device.fd, 4096, offset=guest.device.regions[BAR0_REGION].offset)
    with refused():
        mmap.mmap(guest.device.fd, 4096, offset=guest.device.regions[CONFIG_REGION].offset)


def test_other_ioctls(guest):
    for number in (vfio.DEVICE_IOEVENTFD, 12, vfio._io(99)):
        with refused(errno.ENOTTY):
            guest.device.ioctl(number, bytearray(64))
    with refused():
        guest.device.ioctl(vfio.DEVICE_GET_INFO, bytearray(struct.pack("IIII", 12, 0, 0, 0)))
    for index in (ERR, 5, 2**32 - 1):
        with refused():
            irq_info(guest.device, index)


def test_intx_masks_itself(guest):
    device, registers = guest.device, guest.edu
    with EventFd() as event:
        device.set_irq(INTX, event.fd)
        registers.write32(edu.INTERRUPT_RAISE, 1)
        registers.write32(edu.INTERRUPT_RAISE, 2)
        assert event.take() == 1
        assert config(device, 6, "<H") & 8, "the status register shows it"
        mask(device, False)
        assert event.take() == 1, "it is still asserted"
        registers.write32(edu.INTERRUPT_ACKNOWLEDGE, 3)
        assert not config(device, 6, "<H") & 8
        mask(device, False)
        assert event.take() == 0
        registers.write32(edu.INTERRUPT_RAISE, 4)
        assert event.take() == 1
        # The user masks the interrupt.
        registers.write32(edu.INTERRUPT_ACKNOWLEDGE, 4)
        mask(device, True)
        registers.write32(edu.INTERRUPT_RAISE, 4)
        assert event.take() == 0
        mask(device, False)
        assert event.take() == 1


def test_intx_that_the_guest_has_switched_off(guest):
    device, registers = guest.device, guest.edu
    with EventFd() as event:
        device.set_irq(INTX, event.fd)
        device.enable(INTX_DISABLE)
        registers.write32(edu.INTERRUPT_RAISE, 1)
        assert event.take() == 0
        device.enable(0, clear=INTX_DISABLE)
        assert event.take() == 1


def test_an_interrupt_is_there_before_intx_is_set_up(guest):
    guest.edu.write32(edu.INTERRUPT_RAISE, 1)
    with EventFd() as event:
        guest.device.set_irq(INTX, event.fd)
        assert event.take() == 1


def test_msi_is_an_event(guest):
    device, registers = guest.device, guest.edu
    registers.write32(edu.INTERRUPT_RAISE, 8)
    with EventFd() as event, EventFd() as second:
        device.set_irq(MSI, event.fd)
        assert event.take() == 0
        for number in range(3):
            registers.write32(edu.INTERRUPT_RAISE, 1 << number)
        assert event.take() == 3
        device.set_irq(MSI, second.fd)
        registers.write32(edu.INTERRUPT_RAISE, 8)
        assert (event.take(), second.take()) == (0, 1)
        device.clear_irq(MSI)
        registers.write32(edu.INTERRUPT_RAISE, 8)
        assert second.take() == 0


def test_the_device_interrupts_by_itself(guest):
    device, registers = guest.device, guest.edu
    with EventFd() as event:
        device.set_irq(MSI, event.fd)
        registers.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
        assert registers.factorial(5) == 120
        wait_until(lambda: registers.read32(edu.INTERRUPT_STATUS) == 1)
        assert event.take() == 1
        registers.to_memory(guest.IOVA, command=edu.DMA_INTERRUPT)
        assert registers.read32(edu.INTERRUPT_STATUS) == 0x101
        assert event.take() == 1
        registers.to_device(guest.IOVA)
        assert event.take() == 0


def test_one_mode_at_a_time(guest):
    device = guest.device
    with EventFd() as event:
        device.set_irq(INTX, event.fd)
        with refused():
            device.set_irq(MSI, event.fd)
        device.clear_irq(INTX)
        device.set_irq(MSI, event.fd)
        with refused():
            device.set_irq(INTX, event.fd)
        with refused():
            mask(device, True)
        set_irqs(device, DATA_BOOL | TRIGGER, MSI, data=b"\1")
        set_irqs(device, DATA_BOOL | TRIGGER, MSI, data=b"\0")
        set_irqs(device, DATA_NONE | TRIGGER, MSI)
        assert event.take() == 2
        device.clear_irq(MSI)


@pytest.mark.parametrize(
    "flags,index,count,start,data,error",
    [
        (DATA_NONE | TRIGGER, INTX, 1, 0, b"", errno.EINVAL),
        (DATA_NONE | MASK, INTX, 1, 0, b"", errno.EINVAL),
        (DATA_EVENTFD | TRIGGER, INTX, 1, 1, b"\0\0\0\0", errno.EINVAL),
        (DATA_EVENTFD | TRIGGER, MSI, 2, 0, bytes(8), errno.EINVAL),
        (DATA_EVENTFD | TRIGGER, MSI, 1, 0, b"\0", errno.EINVAL),
        (DATA_EVENTFD | TRIGGER, MSIX, 1, 0, bytes(4), errno.EINVAL),
        (DATA_EVENTFD | TRIGGER, ERR, 1, 0, bytes(4), errno.EINVAL),
        (DATA_EVENTFD | TRIGGER, MSI, 1, 0, b"\xf0\xff\0\0", errno.EBADF),
        (DATA_NONE | TRIGGER, REQ, 1, 0, b"", errno.EINVAL),
        (DATA_NONE | MASK, MSI, 1, 0, b"", errno.ENOTTY),
        (TRIGGER, MSI, 1, 0, b"", errno.EINVAL),
        (DATA_NONE, MSI, 1, 0, b"", errno.ENOTTY),
        (1 << 9, INTX, 1, 0, b"", errno.EINVAL),
    ],
)
def test_what_set_irqs_refuses(guest, flags, index, count, start, data, error):
    with refused(error):
        set_irqs(guest.device, flags, index, count, start, data)
    with EventFd() as event:
        guest.device.set_irq(MSI, event.fd)
        guest.edu.write32(edu.INTERRUPT_RAISE, 1)
        assert event.take() == 1


def test_unmasking_by_an_eventfd_is_not_offered(guest):
    with EventFd() as event:
        guest.device.set_irq(INTX, event.fd)
        with refused(errno.ENOTTY):
            set_irqs(guest.device, DATA_EVENTFD | UNMASK, INTX, data=struct.pack("i", event.fd))
