# SPDX-License-Identifier: GPL-2.0-only
"""A virtual device at work on memory that never comes: its user can end it all the same."""

import errno
import os
import select
import signal
import threading
import time

import pytest

import edu
import mediated
from clients import Client
from edu import BUFFER
from errnos import error_of
from patience import SLOWNESS
from userfault import lazy_memory

IOVA = 0x4000000
COMMANDS = pytest.mark.parametrize("command", [0, edu.TO_MEMORY], ids=["read", "write"])


def wait_for_ever(guest, command):
    """Starts a transfer that does not end; returns what would end it."""
    memory, fd = lazy_memory(1 << 20)
    guest.device.map(memory, IOVA)
    if command:
        guest.edu.start(BUFFER, IOVA, 64, edu.TO_MEMORY)
    else:
        guest.edu.start(IOVA, BUFFER, 64, 0)
    time.sleep(0.3)
    assert guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
    return memory, fd


def ends(action):
    """Returns whether an action ends soon."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join(10 * SLOWNESS)
    return not thread.is_alive()


@COMMANDS
def test_reset(guest, rng, command):
    memory, fd = wait_for_ever(guest, command)
    try:
        assert ends(guest.device.reset)
        guest.is_fresh()
        guest.works(rng)
    finally:
        os.close(fd)
    del memory


@COMMANDS
def test_close(name, rng, command):
    client = Client(name)
    memory, fd = wait_for_ever(client, command)
    try:
        assert ends(client.close)
        with Client(name) as guest:
            guest.is_fresh()
            guest.works(rng)
    finally:
        os.close(fd)
    del memory


@COMMANDS
def test_kill(parent, name, rng, command):
    """What would end the transfer is closed after the device: the kernel closes the last file first."""
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with Client(name) as guest:
                _kept = wait_for_ever(guest, command)
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
    # What it had mapped goes with the copy, a moment later.
    while error_of(lambda: Client(name).close()) == errno.EBUSY:
        assert time.monotonic() < end, "the device stays open"
        time.sleep(0.05)
    with Client(name) as guest:
        guest.is_fresh()
        guest.works(rng)
    mediated.remove(name)
    assert mediated.available(parent, 1) == 1


def test_again_and_again(guest, rng):
    """A signal that comes when the copy has just ended, or has not begun, is not left over."""
    for number in range(20):
        guest.edu.start(BUFFER, guest.IOVA, 64, edu.TO_MEMORY)
        time.sleep(rng.random() / 5)
        guest.device.reset()
        if number % 5 == 0:
            guest.works(rng)
