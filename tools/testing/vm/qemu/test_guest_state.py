# SPDX-License-Identifier: GPL-2.0-only
"""After a migration the guest finds everything as it was."""

import pytest

from devices.edu import (
    BUFFER,
    BUFFER_SIZE,
    FACTORIAL_INTERRUPT,
    INTERRUPT_ACKNOWLEDGE,
    INTERRUPT_RAISE,
    INTERRUPT_STATUS,
    LIVENESS,
    STATUS,
    TO_MEMORY,
)
from lib.qemu.machine import migrate
from lib.qemu.steps import (
    MSI_DATA,
    MSI_PAGE,
    at_switchover,
    begin_held,
    check_msi,
    end_held,
    raise_msi,
    wait_msi,
)
from lib.vfio import COMMAND_MASTER, COMMAND_MEMORY

pytestmark = pytest.mark.edu

# A page of guest memory for the device to write.
PAGE = 0x300000


def test_registers_buffer_and_memory(source, target, rng):
    content = rng.randbytes(BUFFER_SIZE)
    edu = source.driver
    edu.fill(content)
    edu.to_memory(PAGE, 4000, at=96)
    edu.write32(LIVENESS, 0x12345678)
    edu.write32(STATUS, FACTORIAL_INTERRUPT)
    assert edu.factorial(10) == 3628800
    state = edu.state()

    migrate(source, target)
    edu = target.driver
    assert edu.state() == state
    assert target.qtest.read(PAGE, 4000) == content[96:]
    assert edu.buffer() == content
    assert edu.factorial(5) == 120
    assert edu.factorial(0) == 1


def test_a_fresh_device(source, target):
    state = source.driver.state()
    migrate(source, target)
    assert target.driver.state() == state
    assert target.driver.buffer() == bytes(BUFFER_SIZE)


def test_a_device_that_the_guest_has_not_set_up(start):
    """The device's memory decoding and bus mastering are off before and after."""
    source, target = start(0), start(1, incoming=True)
    migrate(source, target)
    assert not target.driver.function.command() & (COMMAND_MEMORY | COMMAND_MASTER)
    target.enable()
    assert target.driver.factorial(4) == 24
    assert target.driver.buffer() == bytes(BUFFER_SIZE)


def test_memory_written_during_precopy(source, target, rng):
    content = rng.randbytes(BUFFER_SIZE)
    old = rng.randbytes(BUFFER_SIZE)
    source.driver.fill(content)
    source.qtest.write(PAGE, old)
    begin_held(source, target)
    source.driver.to_memory(PAGE)
    source.driver.fill(old)
    assert source.migration()["status"] == "active"
    end_held(source, target)
    assert target.qtest.read(PAGE, BUFFER_SIZE) == content
    assert target.driver.buffer() == old


def check_nothing_is_pending(machine):
    assert machine.driver.read32(INTERRUPT_STATUS) == 0
    assert machine.qtest.read32(MSI_PAGE) == 0
    assert machine.interrupts() == (False, 0)


def test_intx(start, source, target):
    """Nothing is pending at first, and the migrated device raises INTx, which migrates as well."""
    source.driver.write32(STATUS, FACTORIAL_INTERRUPT)
    migrate(source, target)
    source.close()
    check_nothing_is_pending(target)
    target.driver.factorial(7)
    target.wait(lambda: target.interrupts()[0], "INTx")
    target.driver.write32(INTERRUPT_RAISE, 0x40)
    pending = target.driver.read32(INTERRUPT_STATUS)
    assert pending & 0x40

    another = start(0, incoming=True)
    migrate(target, another)
    # The line is already asserted, as on the source. An access makes QEMU deassert it and check the
    # device, which must still assert it.
    driver = another.driver
    another.wait(
        lambda: driver.read32(INTERRUPT_STATUS) == pending and another.interrupts()[1], "INTx"
    )
    another.driver.write32(INTERRUPT_ACKNOWLEDGE, pending)
    another.wait(lambda: not another.interrupts()[0], "the end of INTx")


def test_msi(start, source, target):
    """Nothing is pending at first, and the migrated device sends an MSI; another is pending then."""
    source.driver.function.enable_msi(MSI_PAGE, MSI_DATA)
    source.driver.write32(STATUS, FACTORIAL_INTERRUPT)
    migrate(source, target)
    source.close()
    check_nothing_is_pending(target)
    target.driver.factorial(7)
    wait_msi(target)
    target.driver.write32(INTERRUPT_ACKNOWLEDGE, target.driver.read32(INTERRUPT_STATUS))
    target.qtest.write32(MSI_PAGE, 0)
    raise_msi(target, target.driver)

    another = start(0, incoming=True)
    migrate(target, another)
    check_msi(another, another.driver)
    assert another.interrupts() == (False, 0)


def test_there_and_back_twice(start, rng):
    source = start(0)
    source.enable()
    for turn in range(1, 5):
        target = start(turn % 2, incoming=True)
        content = rng.randbytes(BUFFER_SIZE)
        operand = turn + 2
        source.driver.fill(content)
        result = source.driver.factorial(operand)
        state = source.driver.state()
        migrate(source, target)
        assert target.driver.state() == state
        source.close()
        source = target
        assert source.driver.buffer() == content
        assert source.driver.factorial(operand) == result


def test_a_file_and_restore_later(start, tmp_path, rng):
    content = rng.randbytes(BUFFER_SIZE)
    first = start(0)
    first.enable()
    first.driver.fill(content)
    first.driver.to_memory(PAGE)
    state = first.driver.state()
    image = tmp_path / "image"
    first.migrate_to_file(image)
    first.wait_end()
    first.close()

    # Another guest uses the device meanwhile.
    other = start(0)
    other.enable()
    other.driver.fill(rng.randbytes(BUFFER_SIZE))
    other.close()

    for device in (0, 1):
        again = start(device, incoming=True)
        again.migrate_from_file(image)
        again.wait_status()
        assert again.driver.state() == state
        assert again.qtest.read(PAGE, BUFFER_SIZE) == content
        assert again.driver.buffer() == content
        again.close()


def test_two_devices_in_one_guest(start, tmp_path, rng):
    contents = [rng.randbytes(BUFFER_SIZE) for _ in range(2)]
    first = start(0, 1)
    first.enable()
    for number, edu in enumerate(first.drivers):
        edu.fill(contents[number])
        edu.to_memory(PAGE + number * BUFFER_SIZE)
        edu.factorial(4 + number)
    states = [edu.state() for edu in first.drivers]
    image = tmp_path / "image"
    first.migrate_to_file(image)
    first.wait_end()
    first.close()

    # The devices change places.
    second = start(1, 0, incoming=True)
    second.migrate_from_file(image)
    second.wait_status()
    assert [edu.state() for edu in second.drivers] == states
    assert second.qtest.read(PAGE, 2 * BUFFER_SIZE) == b"".join(contents)
    assert [edu.buffer() for edu in second.drivers] == contents


def test_two_devices_move_live(start, rng):
    """One has an interrupt pending, the other moves data while the guest is stopped."""
    contents = [rng.randbytes(BUFFER_SIZE) for _ in range(2)]
    source = start(0, 1)
    source.enable()
    first, second = source.drivers
    for edu, content in zip(source.drivers, contents):
        edu.fill(content)
    first.factorial(6)
    raise_msi(source, first)
    state = first.state()

    target = start(2, 3, incoming=True)
    with at_switchover(source, target, second):
        second.start(BUFFER, PAGE, BUFFER_SIZE, TO_MEMORY)

    check_msi(target, target.drivers[0])
    assert target.drivers[0].state() == state
    assert target.qtest.read(PAGE, BUFFER_SIZE) == contents[1]
    assert [edu.buffer() for edu in target.drivers] == contents
    assert [edu.factorial(5) for edu in target.drivers] == [120, 120]
