# SPDX-License-Identifier: GPL-2.0-only
"""Saves and loads while the guest has memory decoding or bus mastering switched off."""

import errno

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import vfio
from lib.errnos import refused
from lib.patience import wait_until
from lib.protocols import region_2018
from lib.vfio import COMMAND_MASTER, COMMAND_MEMORY

INTX_DISABLE = 0x400
OFF = [COMMAND_MEMORY, COMMAND_MASTER, COMMAND_MEMORY | COMMAND_MASTER]


def unchanged(device, command, hardware):
    assert (device.command(), device.hardware_command()) == (command, hardware)


def switch_off(device, bits, extra=0):
    """Clears bits of PCI_COMMAND; returns the guest's and the hardware's register then."""
    device.enable(extra, clear=bits)
    found = device.command(), device.hardware_command()
    assert not (found[0] | found[1]) & bits
    return found


@pytest.mark.edu
@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("extra", [0, INTX_DISABLE])
def test_whole_migration(pair, rng, off, extra):
    source, target = pair
    source.randomise(rng)
    expected = source.state()
    before = [switch_off(guest.device, off, extra) for guest in pair]

    def check():
        unchanged(source.device, *before[0])
        unchanged(target.device, *before[1])

    region = source.region
    image = b""
    for state in (region_2018.SETUP, region_2018.PRECOPY, region_2018.STOPNCOPY):
        region.state = state
        check()
        if state != region_2018.SETUP:
            image += region.drain()
            check()
    region.state = region_2018.SAVE_COMPLETED
    check()
    target.region.state = region_2018.RESUME
    check()
    for at in range(0, len(image), 500):
        target.region.set_buffer(image[at : at + 500])
        check()
    target.region.state = region_2018.RESUME_COMPLETED
    check()
    target.region.state = region_2018.RUNNING
    region.state = region_2018.RUNNING
    check()
    for guest in pair:
        guest.device.enable(COMMAND_MEMORY | COMMAND_MASTER)
        assert guest.state() == expected
    assert source.buffer() == target.buffer() != bytes(BUFFER_SIZE)


@pytest.mark.parametrize("off", OFF)
def test_reset_changes_no_bit_of_the_guests(guest, rng, off):
    guest.randomise(rng)
    before = switch_off(guest.device, off, INTX_DISABLE)
    guest.device.reset()
    unchanged(guest.device, *before)
    guest.device.enable(COMMAND_MEMORY | COMMAND_MASTER)
    guest.is_fresh()


@pytest.mark.edu
def test_registers_are_not_there_without_memory_decoding(guest):
    guest.touch(5)
    switch_off(guest.device, COMMAND_MEMORY)
    for register in (*edu.STATE_32, 0x10, 0x1000):
        with refused(errno.EIO):
            guest.edu.read32(register)
        with refused(errno.EIO):
            guest.edu.write32(register, 1)
    for register in edu.STATE_64:
        with refused(errno.EIO):
            guest.edu.read64(register)
        with refused(errno.EIO):
            guest.edu.write64(register, 1)
    guest.device.enable(COMMAND_MEMORY)
    assert guest.edu.read32(edu.LIVENESS) == 0xFFFFFFFA
    assert guest.edu.read64(edu.DMA_SOURCE) == 0


@pytest.mark.edu
@pytest.mark.parametrize("off", OFF)
def test_switched_off_while_a_transfer_runs(pair, rng, off):
    source, target = pair
    content = rng.randbytes(BUFFER_SIZE)
    source.fill(content)
    source.start_to_memory(1)
    before = switch_off(source.device, off)
    image = source.region.save()
    unchanged(source.device, *before)
    target.region.load(image)
    assert target.buffer() == content
    # The destination of the transfer, if the device was allowed to write there.
    if not off & COMMAND_MASTER:
        assert source.memory.bytes[0x1000:0x2000] == content


@pytest.mark.edu
@pytest.mark.parametrize("off", OFF)
def test_switched_off_while_a_computation_runs(pair, off):
    source, target = pair
    source.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
    source.edu.write32(edu.FACTORIAL, 0x4000000)
    switch_off(source.device, off)
    target.region.load(source.region.save())
    state = target.state()
    assert (state[edu.FACTORIAL], state[edu.INTERRUPT_STATUS]) == (0, 1)


def test_the_guest_writes_its_command_register_all_the_time(guest, rng):
    """QEMU does so: it restores PCI configuration space while a device is RESUMING."""
    guest.randomise(rng)
    expected, image = guest.state(), guest.region.save()
    guest.region.state = region_2018.RUNNING
    guest.region.state = region_2018.RESUME
    for at, bits in enumerate((0, COMMAND_MEMORY, COMMAND_MASTER, COMMAND_MEMORY | COMMAND_MASTER)):
        guest.device.enable(bits, clear=~bits & 6)
        end = (at + 1) * 1079 if at < 3 else len(image)
        guest.region.set_buffer(image[at * 1079 : end])
        assert guest.device.command() & 6 == bits
    guest.region.state = region_2018.RESUME_COMPLETED
    guest.region.state = region_2018.RUNNING
    assert guest.state() == expected


@pytest.mark.edu
@pytest.mark.physical
def test_intx_that_is_masked_by_vfio_stays_masked(pair):
    """INTX_DISABLE belongs to VFIO's interrupt handler."""
    source, target = pair
    with vfio.EventFd() as event:
        source.device.set_irq(vfio.INTX, event.fd)
        source.edu.write32(edu.INTERRUPT_RAISE, 4)
        wait_until(event.take)
        before = source.device.hardware_command()
        assert before & INTX_DISABLE
        target.region.load(source.region.save())
        assert source.device.hardware_command() == before
        source.region.state = region_2018.RUNNING
        assert source.device.hardware_command() == before
        assert event.take() == 0
        source.device.clear_irq(vfio.INTX)
    assert target.edu.read32(edu.INTERRUPT_STATUS) == 4


@pytest.mark.edu
def test_dma_with_bus_mastering_off_moves_nothing(guest, rng):
    content = rng.randbytes(BUFFER_SIZE)
    guest.fill(content)
    switch_off(guest.device, COMMAND_MASTER)
    guest.edu.start(BUFFER, guest.IOVA, BUFFER_SIZE, edu.TO_MEMORY)
    guest.edu.wait_transfer()
    assert not any(guest.memory.bytes[:BUFFER_SIZE])
    guest.device.enable(COMMAND_MASTER)
    assert guest.buffer() == content


@pytest.mark.edu
@pytest.mark.physical
def test_a_sleeping_device_is_woken_for_every_access(guest, rng):
    """vfio-pci does so, too; a register that the driver answers for is no exception."""

    def sleep():
        guest.device.feature(vfio.FEATURE_SET | vfio.FEATURE_LOW_POWER_ENTRY)

    def wake():
        guest.device.feature(vfio.FEATURE_SET | vfio.FEATURE_LOW_POWER_EXIT)

    content = rng.randbytes(BUFFER_SIZE)
    guest.fill(content)
    sleep()
    guest.edu.write64(edu.DMA_SOURCE, 0x1234)
    assert guest.edu.read64(edu.DMA_SOURCE) == 0x1234
    guest.touch(7)
    assert guest.edu.read32(edu.LIVENESS) == 0xFFFFFFF8
    wake()
    sleep()
    assert guest.buffer() == content
    guest.device.reset()
    wake()
    guest.is_fresh()
