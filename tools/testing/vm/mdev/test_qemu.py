# SPDX-License-Identifier: GPL-2.0-only
"""QEMU with virtual devices, beside others at work; the tests of qemu/ also run with them."""

import threading

import pytest

from devices import edu
from devices.edu import BUFFER_SIZE
from lib import mediated, modules
from lib.clients import Client
from lib.qemu.machine import FIRST_SLOT, Machine, machines, migrate

# The port where a guest tells QEMU's "pc" machine which slots it has given up.
EJECT = 0xAE08


@pytest.fixture
def start(version, parent):  # pylint: disable=unused-argument
    """Starts a QEMU with devices by name; see Machine for the options.

    All QEMUs end before the parent's devices are removed, since the removal waits for them.
    """
    with machines() as started:

        def start_one(*names, **options):
            started.append(Machine(names, version, **options))
            return started[-1]

        yield start_one


def furnish(machine, rng):
    """Gives a guest's device a state; returns it."""
    content = rng.randbytes(BUFFER_SIZE)
    machine.driver.fill(content)
    machine.driver.write32(edu.LIVENESS, rng.getrandbits(32))
    machine.driver.factorial(9)
    return machine.driver.state(), content


def arrived(machine, state, content):
    assert machine.driver.state() == state
    assert machine.driver.buffer() == content
    assert machine.driver.factorial(5) == 120


def test_two_guests_migrate_while_eight_devices_work(start, names, rng):
    """They migrate there and back, while six others compute and move data all the time."""
    stop, errors, rounds = threading.Event(), [], [0] * 6

    def work(number):
        try:
            with Client(names[2 + number]) as guest:
                while not stop.is_set():
                    content = bytes([number + 1]) * 64
                    guest.fill(content)
                    assert guest.edu.factorial(6) == 720
                    assert guest.buffer()[:64] == content
                    rounds[number] += 1
        except Exception as error:  # pylint: disable=broad-exception-caught
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        source = start(names[0])
        source.enable()
        target = start(names[1], incoming=True)
        state, content = furnish(source, rng)
        migrate(source, target)
        arrived(target, state, content)
        print(source.close())
        back = start(names[0], incoming=True)
        state, content = furnish(target, rng)
        migrate(target, back)
        arrived(back, state, content)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors
    assert min(rounds) >= 1, rounds


@pytest.mark.parametrize("way", ["to virtual", "to physical"])
def test_with_a_physical_device(start, name, functions, rng, way):
    """A guest moves between a virtual device and one that is passed through as a whole."""
    modules.rebind(functions[1], modules.VARIANT)
    places = [functions[1], name]
    if way == "to physical":
        places.reverse()
    source = start(places[0])
    source.enable()
    target = start(places[1], incoming=True)
    state, content = furnish(source, rng)
    migrate(source, target)
    arrived(target, state, content)


def test_two_devices_of_one_guest(start, names, rng):
    """A guest uses two virtual devices of one physical device."""
    machine = start(names[0], names[1])
    machine.enable()
    contents = [rng.randbytes(BUFFER_SIZE) for _ in machine.drivers]
    for one, content in zip(machine.drivers, contents):
        one.fill(content)
    assert [one.buffer() for one in machine.drivers] == contents


def test_a_device_is_removed_from_a_running_guest(start, parent, names, rng):
    """QEMU hears of it and asks the guest; the guest gives the device up, and goes on.

    The guest has another device in the same container, which keeps its IOMMU. Otherwise the stock
    kernel takes the IOMMU from the container under QEMU's calls (security.rst, "Known limits").
    """
    machine = start(names[0], names[1])
    machine.enable()
    content = rng.randbytes(BUFFER_SIZE)
    machine.drivers[1].fill(content)
    assert machine.driver.factorial(5) == 120
    thread = threading.Thread(target=mediated.remove, args=(names[0],))
    thread.start()
    thread.join(2)
    assert thread.is_alive()

    def given_up():
        machine.qtest.io_write32(EJECT, 1 << FIRST_SLOT)
        return not thread.is_alive()

    machine.wait(given_up, "the end of the removal")
    assert sorted(mediated.children(parent)) == sorted(names[1:])
    assert machine.status() == "running"
    assert machine.drivers[1].buffer() == content
    assert machine.drivers[1].factorial(6) == 720
