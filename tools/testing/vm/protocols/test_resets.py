# SPDX-License-Identifier: GPL-2.0-only
"""Resets of the function through sysfs while the driver moves the internal buffer."""

import errno
import threading
import time

import pytest

from devices.edu import BUFFER_SIZE
from lib import modules
from lib.clients import Client
from lib.protocols import v2
from lib.resets import find_resettable, reset_by_others

pytestmark = [pytest.mark.edu, pytest.mark.physical]

# The number of resets, each at a random time in the 100 ms of a buffer's transfer.
ROUNDS = 10


@pytest.fixture(name="bdf")
def resettable():
    bdf = find_resettable()
    before = modules.driver_of(bdf)
    modules.rebind(bdf)
    yield bdf
    modules.unbind(bdf)
    if before:
        modules.bind(bdf, before)


class Reset:
    """A reset through sysfs after some time."""

    def __init__(self, bdf, seconds):
        def run():
            time.sleep(seconds)
            reset_by_others(bdf)

        self.thread = threading.Thread(target=run)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.thread.join()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_while_the_buffer_is_read(bdf, number, rng, log):
    """The save ends and the device is reset: nothing of the buffer is left, and it works."""
    with Client(bdf) as guest:
        guest.fill(rng.randbytes(BUFFER_SIZE))
        with guest.v2.set(v2.PRE_COPY) as file, Reset(bdf, 0.1 * number / ROUNDS):
            # The save may have ended before the reset.
            try:
                file.drain()
            except OSError as error:
                assert error.errno == errno.ENODEV
        guest.device.reset()
        guest.is_fresh()
        guest.fill(rng.randbytes(BUFFER_SIZE))
        with Reset(bdf, 0.1 * number / ROUNDS):
            guest.close()
    with Client(bdf) as guest:
        guest.is_fresh()
        assert guest.buffer() == bytes(BUFFER_SIZE)
        assert guest.edu.factorial(5) == 120
    assert not [line for line in log.take() if "cut off" in line]
