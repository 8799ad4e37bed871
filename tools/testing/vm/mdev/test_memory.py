# SPDX-License-Identifier: GPL-2.0-only
"""A virtual device that waits for memory which never comes: its user can end it all the same."""

import errno
import os
import select
import signal
import threading
import time

import pytest

from devices import edu
from devices.edu import BUFFER
from lib import mediated
from lib.clients import Client
from lib.errnos import error_of
from lib.patience import SLOWNESS
from lib.userfault import lazy_memory

IOVA = 0x4000000
COMMANDS = pytest.mark.parametrize("command", [0, edu.TO_MEMORY], ids=["read", "write"])


@pytest.fixture
def memory():
    """Memory whose page faults wait until the test is over."""
    memory, fd = lazy_memory(1 << 20)
    yield memory
    os.close(fd)


def wait_for_ever(guest, memory, command):
    """Starts a transfer that does not end."""
    guest.device.map(memory, IOVA)
    if command:
        guest.edu.start(BUFFER, IOVA, 64, edu.TO_MEMORY)
    else:
        guest.edu.start(IOVA, BUFFER, 64, 0)
    time.sleep(0.3)
    assert guest.edu.read64(edu.DMA_COMMAND) & edu.RUN


def ends(action):
    """Returns whether an action ends soon."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join(10 * SLOWNESS)
    return not thread.is_alive()


@COMMANDS
def test_reset(memory, guest, rng, command):
    wait_for_ever(guest, memory, command)
    assert ends(guest.device.reset)
    guest.is_fresh()
    guest.works(rng)


@COMMANDS
def test_close(memory, name, rng, command):
    client = Client(name)
    wait_for_ever(client, memory, command)
    assert ends(client.close)
    with Client(name) as guest:
        guest.is_fresh()
        guest.works(rng)


@COMMANDS
def test_kill(parent, name, rng, command):
    """The kernel closes the device before the descriptor that would end the transfer.

    It begins with the last file. Nothing of the device is mapped: a mapping would keep it open
    until the memory goes, which is later still.
    """
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            memory, fd = lazy_memory(1 << 20)
            with Client(name, use_mmap=False) as guest:
                assert guest.device.fd > fd
                wait_for_ever(guest, memory, command)
                os.write(done, b"1")
                signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    assert select.select([ready], [], [], 30 * SLOWNESS)[0] and os.read(ready, 1) == b"1"
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10 * SLOWNESS
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < end, "it cannot be killed"
        time.sleep(0.05)
    os.close(ready)
    # Its mappings go a moment later, with the copy.
    while error_of(lambda: Client(name).close()) == errno.EBUSY:
        assert time.monotonic() < end, "the device stays open"
        time.sleep(0.05)
    with Client(name) as guest:
        guest.is_fresh()
        guest.works(rng)
    mediated.remove(name)
    assert mediated.available(parent, 1) == 1


def test_again_and_again(guest, rng):
    """A signal just before or after the copy does not affect the next one."""
    for number in range(20):
        guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
        time.sleep(rng.random() / 5)
        guest.device.reset()
        if number % 5 == 0:
            guest.works(rng)
