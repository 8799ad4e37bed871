# SPDX-License-Identifier: GPL-2.0-only
"""Opening, closing, removing, unbinding and unloading, with and without a user."""

import ctypes
import errno
import os
import pathlib
import signal
import struct
import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER
from lib import mediated, modules
from lib.clients import Client
from lib.errnos import refused
from lib.guest import GuestProcess
from lib.protocols import region_v1, v2
from lib.userfault import lazy_memory
from lib.vfio import COMMAND_MASTER, REQ, EventFd


def request_event(guest, event):
    guest.device.set_irq(REQ, event.fd)


def waits(action, *arguments):
    """Starts an action that must wait; returns its thread."""
    thread = threading.Thread(target=action, args=arguments)
    thread.start()
    thread.join(1)
    assert thread.is_alive(), "it did not wait"
    return thread


def is_asked(event):
    """Waits until the user is asked to give the device back."""
    end = time.monotonic() + 15
    while not event.take():
        assert time.monotonic() < end, "the user is not asked"
        time.sleep(0.05)


def test_closing_scrubs(name, rng):
    with Client(name) as guest:
        guest.furnish(rng)
        guest.edu.write32(edu.STATUS, edu.FACTORIAL_INTERRUPT)
        guest.device.write(7, 0x3C, b"\x0b")
    with Client(name) as guest:
        guest.is_fresh()
        assert guest.device.read(7, 0x3C, 1) == b"\0"


def test_a_process_that_dies_leaves_nothing(name):
    def busy(guest):
        guest.edu.write32(edu.FACTORIAL, 5000)
        guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)

    for _ in range(3):
        GuestProcess(name, busy).kill()
        with Client(name) as guest:
            guest.is_fresh()


def test_it_is_opened_once(guest, name):
    with refused(errno.EBUSY):
        Client(name)
    assert guest.edu.factorial(3) == 6


@pytest.mark.parametrize("state", [v2.RUNNING, v2.PRE_COPY, v2.STOP_COPY, v2.RESUMING])
def test_reset_in_every_state(guest, rng, state):
    guest.furnish(rng)
    file = guest.v2.set(state)
    guest.device.reset()
    guest.is_fresh()
    if file:
        file.close()


def is_enabled(parent):
    """Returns how often a physical device is enabled, and whether it is a bus master."""
    path = pathlib.Path(modules.PCI, "devices", parent)
    command = int.from_bytes((path / "config").read_bytes()[4:6], "little")
    return int((path / "enable").read_text()), bool(command & COMMAND_MASTER)


def test_removal_waits_for_the_user_and_asks(parent, name):
    with Client(name) as guest, EventFd() as event:
        request_event(guest, event)
        guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
        thread = waits(mediated.remove, name)
        is_asked(event)
        assert guest.edu.factorial(5) == 120, "it works until it is closed"
        assert mediated.available(parent, 1) == 0
    thread.join(20)
    assert not thread.is_alive()
    assert mediated.children(parent) == []
    assert mediated.available(parent, 1) == 1


def test_unbinding_the_parent_waits_for_all_users(parent, names):
    clients = [Client(name) for name in names]
    events = [EventFd() for _ in names]
    for client, event in zip(clients, events):
        request_event(client, event)
    thread = waits(modules.unbind, parent)
    # The users are asked one after the other, each when the one before has gone.
    left = list(zip(clients, events))
    while left:
        time.sleep(0.05)
        for client, event in list(left):
            if event.take():
                assert client.edu.factorial(5) == 120
                client.close()
                event.close()
                left.remove((client, event))
    thread.join(60)
    assert not thread.is_alive()
    assert modules.driver_of(parent) is None
    assert not os.path.exists(f"/sys/class/mdev_bus/{parent}")
    modules.bind(parent, mediated.DRIVER)
    assert mediated.available(parent, 8) == 8


def test_the_physical_device_is_awake_for_its_last_user(parent, name):
    """If it may sleep, it does so when its driver is gone, not before its virtual devices are.

    The state that the kernel has saved and restores is not that of a bus master either.
    """
    power = pathlib.Path(modules.PCI, "devices", parent, "power")
    (power / "control").write_text("auto")
    try:
        with Client(name) as guest, EventFd() as event:
            request_event(guest, event)
            thread = waits(modules.unbind, parent)
            is_asked(event)
            assert (power / "runtime_status").read_text().strip() == "active"
            assert guest.edu.factorial(5) == 120
        thread.join(20)
        assert not thread.is_alive()
        assert (power / "runtime_status").read_text().strip() == "suspended"
    finally:
        (power / "control").write_text("on")
    assert is_enabled(parent) == (0, False)
    modules.bind(parent, mediated.DRIVER)


def test_unbinding_leaves_the_physical_device_disabled(parent):
    """It is no bus master then, and is enabled no more often than before."""
    modules.unbind(parent)
    for _ in range(3):
        assert is_enabled(parent) == (0, False)
        modules.bind(parent, mediated.DRIVER)
        assert is_enabled(parent) == (1, True)
        modules.unbind(parent)
    assert is_enabled(parent) == (0, False)
    modules.bind(parent, mediated.DRIVER)


def test_a_migration_file_outlives_device_and_parent(parent, name):
    """Its owner gets an error; the module stays as long as the file."""
    client = Client(name)
    file = client.v2.set(v2.PRE_COPY)
    file.drain()
    client.close()
    mediated.remove(name)
    modules.unbind(parent)
    status, output = modules.run("rmmod", mediated.DRIVER)
    assert status != 0 and "in use" in output
    with refused(errno.ENODEV):
        file.read(1)
    file.close()
    modules.bind(parent, mediated.DRIVER)
    assert mediated.available(parent, 1) == 1


def test_the_module_stays_while_a_device_is_used(guest):
    status, output = modules.run("modprobe", "-r", mediated.DRIVER)
    assert status != 0 and "in use" in output
    assert guest.edu.factorial(5) == 120


def test_the_module_goes_with_devices_that_nobody_uses(parent, names):
    modules.unload(mediated.DRIVER)
    assert not any((mediated.DEVICES / name).exists() for name in names)
    modules.load(mediated.DRIVER)
    modules.rebind(parent, mediated.DRIVER)
    assert mediated.available(parent, 8) == 8


def test_again_and_again(parent):
    for _ in range(20):
        name = mediated.create(parent, 2)
        with Client(name) as guest:
            guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
        mediated.remove(name)
    assert mediated.available(parent, 1) == 1


def test_devices_come_and_go_beside_one_in_use(parent, rng):
    """Threads create, use and remove devices while another device works."""
    stop = threading.Event()
    errors = []

    def come_and_go():
        try:
            while not stop.is_set():
                name = mediated.create(parent, 8)
                with Client(name) as guest:
                    assert guest.edu.factorial(7) == 5040
                mediated.remove(name)
        except Exception as error:  # pylint: disable=broad-exception-caught
            errors.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    with Client(mediated.create(parent, 8)) as guest:
        for thread in threads:
            thread.start()
        content = rng.randbytes(256)
        for _ in range(20):
            guest.fill(content)
            assert guest.buffer()[:256] == content
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors


def test_a_signal_ends_a_stop_that_waits(guest):
    """The call returns EINTR, and the device runs on; Python would repeat the call."""
    memory, fd = lazy_memory(1 << 20)
    libc = ctypes.CDLL(None, use_errno=True)
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        guest.device.map(memory, 0x4000000)
        guest.edu.start(BUFFER, 0x4000000, 64, edu.TO_MEMORY)
        # Repeated, since the first signal may come before the call.
        signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
        result = libc.pwrite(
            guest.device.fd,
            struct.pack("<I", 0),
            ctypes.c_size_t(4),
            ctypes.c_long(guest.v1.info.offset),
        )
        assert (result, ctypes.get_errno()) == (-1, errno.EINTR)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(fd)
    assert guest.v1.state == region_v1.RUNNING
    guest.edu.wait_transfer()
    assert guest.edu.factorial(4) == 24


def test_what_debugfs_shows(guest, name):
    path = f"/sys/kernel/debug/{mediated.DRIVER}/{name}/migration"
    with open(path, encoding="ascii") as shown:
        assert "state: RUNNING" in shown.read()
    with guest.v2.set(v2.STOP_COPY), open(path, encoding="ascii") as shown:
        text = shown.read()
    assert "state: STOP_COPY" in text and "protocol: v2" in text
