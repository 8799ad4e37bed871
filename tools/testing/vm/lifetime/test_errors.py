# SPDX-License-Identifier: GPL-2.0-only
"""The kernel recovers from an error that the device's root port reports (AER).

After a fatal error it resets the bus, which drivers learn of by their error handlers alone. The
outer machine injects the errors.
"""

import errno

import pytest

from devices import edu
from devices.edu import BUFFER, BUFFER_SIZE
from lib import mediated, modules, plug
from lib.clients import IMAGE, Client
from lib.protocols import v2
from lib.vfio import COMMAND_MASTER, COMMAND_MEMORY

pytestmark = [pytest.mark.edu, pytest.mark.physical, pytest.mark.aer]

STATES = (v2.RUNNING, v2.PRE_COPY, v2.PRE_COPY_P2P, v2.STOP_COPY, v2.STOP, v2.RESUMING)
# QEMU's names of a fatal error, and of one that is not fatal.
FATAL, NONFATAL = "DLP", "POISON_TLP"
# The number of recoveries, each at a random time in the 100 ms of a buffer's transfer.
ROUNDS = 8


@pytest.fixture
def bdf(bdfs):
    """The device behind the root port, bound."""
    assert plug.BDF not in bdfs
    modules.rebind(plug.BDF)
    return plug.BDF


@pytest.fixture
def inject(monitor, log):
    """Injects an error; returns when the kernel has recovered from it."""

    def inject(error):
        log.take()
        command = {"command-line": f"pcie_aer_inject_error {plug.BUS} {error}"}
        answer = monitor.execute("human-monitor-command", **command)
        assert answer.startswith("OK"), answer
        ends = []

        def has_ended():
            ends.extend(line for line in log.take() if "device recovery" in line)
            return ends

        plug.wait_until(has_ended)
        assert all("successful" in line for line in ends)

    return inject


def is_fresh(guest):
    """Asserts that the device was reset; the bus reset has also switched off bus mastering."""
    assert guest.v2.state == v2.RUNNING
    guest.device.enable(COMMAND_MEMORY | COMMAND_MASTER)
    guest.is_fresh()


@pytest.mark.parametrize("state", STATES)
def test_a_fatal_error_resets_the_device(bdf, inject, image, log, rng, state):
    with Client(bdf) as guest:
        guest.furnish(rng)
        file = guest.v2.reach(state, image[:100])
        inject(FATAL)
        is_fresh(guest)
        if file:
            file.is_dead()
            file.close()
        guest.works(rng)
        assert not [line for line in log.take() if "cannot be used" in line]


def test_a_reset_by_the_user_comes_first(bdf, inject, rng):
    """The user learns of the error, and resets the device before anything else."""
    with Client(bdf) as guest:
        guest.furnish(rng)
        inject(FATAL)
        guest.device.reset()
        is_fresh(guest)
        guest.works(rng)


def test_an_error_that_is_not_fatal_changes_nothing(bdf, inject, rng):
    with Client(bdf) as guest:
        content = guest.furnish(rng)
        before, command = guest.state(), guest.device.hardware_command()
        with guest.v2.set(v2.PRE_COPY) as file:
            image = file.read(64)
            inject(NONFATAL)
            assert guest.v2.state == v2.PRE_COPY
            image += file.drain()
            guest.v2.set(v2.STOP_COPY)
            image += file.drain()
            guest.v2.set(v2.RUNNING)
        assert len(image) == IMAGE and content in image
        assert guest.device.hardware_command() == command
        assert guest.state() == before
        assert guest.buffer() == content


@pytest.mark.parametrize("number", range(ROUNDS))
def test_while_the_buffer_is_read(bdf, inject, log, number, rng):
    """The transfer ends before the reset or begins after it; nothing of the buffer is left."""
    with Client(bdf) as guest:
        guest.fill(rng.randbytes(BUFFER_SIZE))
        with guest.v2.set(v2.PRE_COPY) as file:
            thread = plug.InAWhile(0.1 * number / ROUNDS, inject, FATAL)
            # The save may have ended before the reset.
            try:
                file.drain()
            except OSError as error:
                assert error.errno == errno.ENODEV
            thread.join()
            file.is_dead()
        is_fresh(guest)
        guest.works(rng)
    assert not [line for line in log.take() if "cut off" in line or "cannot be used" in line]


def test_nobody_uses_the_device(bdf, inject, log, rng):
    inject(FATAL)
    with Client(bdf) as guest:
        guest.is_fresh()
        guest.works(rng)
        inject(FATAL)
    with Client(bdf) as guest:
        guest.is_fresh()
        guest.works(rng)
    assert not [line for line in log.take() if "could not be cleared" in line]


def test_the_parent_of_virtual_devices(bdf, inject, rng):
    """Their state is in memory, not in the physical device: the guests notice nothing."""
    modules.rebind(bdf, mediated.DRIVER)
    try:
        with Client(mediated.create(bdf, 2)) as one, Client(mediated.create(bdf, 2)) as other:
            for number in range(ROUNDS):
                mine, theirs = one.furnish(rng), other.furnish(rng)
                states = one.state(), other.state()
                thread = plug.InAWhile(0.1 * number / ROUNDS, inject, FATAL)
                one.memory.bytes[:BUFFER_SIZE] = bytes(BUFFER_SIZE)
                image = other.v2.save()
                other.v2.load(image)
                thread.join()
                assert (one.state(), other.state()) == states
                one.edu.start(BUFFER, one.IOVA, BUFFER_SIZE, edu.TO_MEMORY)
                one.edu.wait_transfer()
                assert one.memory.bytes[:BUFFER_SIZE] == mine
                assert other.buffer() == theirs
                assert one.edu.factorial(5) == 120
    finally:
        mediated.clear(bdf)
        modules.rebind(bdf, modules.VARIANT)
        modules.unload(mediated.DRIVER)
