# SPDX-License-Identifier: GPL-2.0-only
"""The device goes away: removed, unplugged or lost, with and without a user."""

import errno
import threading
import time

import pytest

from devices.edu import BUFFER, TO_MEMORY
from lib import modules, plug
from lib.clients import IMAGE, PROTOCOLS, Client
from lib.errnos import error_of
from lib.patience import SLOWNESS
from lib.protocols import region_2018, v2
from lib.vfio import REQ, EventFd
from lifetime import accounts
from lifetime.victim import Victim

pytestmark = [pytest.mark.edu, pytest.mark.physical]

STATES = (v2.RUNNING, v2.PRE_COPY, v2.PRE_COPY_P2P, v2.STOP_COPY, v2.STOP, v2.RESUMING)
# The errors of any operation on a device that does not answer.
CLEAR = {errno.ENODEV, errno.EIO}


@pytest.fixture
def bdf(bdfs):
    """The device that can be unplugged, bound to the driver."""
    assert plug.BDF not in bdfs
    modules.rebind(plug.BDF)
    return plug.BDF


@pytest.fixture(params=plug.WAYS, ids=lambda way: way.__name__)
def way(request, monitor):
    """A way to remove the device, which is back after the test in any case."""
    way = request.param(monitor)
    yield way
    plug.power(True)
    if not plug.is_there():
        way.bring_back()


def failed(assertion, *arguments):
    """Returns whether an assertion fails; a driver takes a new device only a moment later."""
    try:
        assertion(*arguments)
    except AssertionError:
        return True
    return False


def comes_back(way, bdf, rng):
    """Brings the device back, and asserts that it is fresh and works."""
    way.bring_back()
    plug.wait_until(lambda: not failed(modules.rebind, bdf))
    with Client(bdf) as guest:
        guest.is_fresh()
        guest.works(rng)


def test_idle(bdf, way, rng):
    before = accounts.held()
    for _ in range(2):
        way.begin()
        way.remove()
        comes_back(way, bdf, rng)
    accounts.returns_to(before)


class Removal:
    """A removal of a device in use: its user is asked to give it back, and may take its time."""

    def __init__(self, way, guest):
        self.way = way
        self.event = EventFd()
        guest.device.set_irq(REQ, self.event.fd)
        way.begin()
        self.thread = threading.Thread(target=way.remove)
        self.thread.start()
        plug.wait_until(self.event.take)
        assert plug.is_there()

    def ends(self):
        """Asserts that the removal ends soon, now that the device is closed."""
        begun = time.monotonic()
        self.thread.join(30)
        assert not self.thread.is_alive()
        assert not plug.is_there()
        self.event.close()
        return time.monotonic() - begun


@pytest.mark.parametrize("state", [v2.PRE_COPY, v2.RESUMING])
def test_a_data_file_is_left_over(bdf, way, rng, state):
    """The file must not keep the removed device in VFIO's set of the devices on its bus."""
    files = []
    for _ in range(2):
        with Client(bdf) as guest:
            files.append(guest.v2.set(state))
        way.begin()
        way.remove()
        # A close asks the set whether the bus can be reset.
        comes_back(way, bdf, rng)
        for file in files:
            file.is_dead()
    for file in files:
        file.close()
    with Client(bdf) as guest:
        guest.works(rng)


def close(file):
    if isinstance(file, v2.DataFile):
        file.close()


def lost_guest(guest):
    """Asserts that each operation on a lost device ends soon, with a clear error."""
    for what in (
        guest.device.reset,
        lambda: guest.v2.set(v2.STOP),
        lambda: guest.v2.set(v2.STOP_COPY),
        lambda: guest.v2.set(v2.RESUMING),
        lambda: setattr(guest.region, "state", region_2018.NONE),
        lambda: setattr(guest.region, "state", region_2018.SETUP),
        *guest.accesses(),
    ):
        begun = time.monotonic()
        error = error_of(lambda: close(what()))
        assert error in CLEAR | {0, errno.EINVAL, errno.EBUSY}, errno.errorcode[error]
        assert time.monotonic() - begun < 3
    assert error_of(guest.device.reset) in CLEAR


@pytest.mark.parametrize("state", STATES)
def test_in_use(bdf, way, image, rng, state):
    with Client(bdf) as guest:
        guest.furnish(rng)
        file = guest.v2.reach(state, image[:100])
        removal = Removal(way, guest)
        if way.answers:
            # Nothing changes before the device is closed: the user can go on, and can close it.
            assert guest.v2.state == state
            if state in v2.PRE_COPIES:
                guest.v2.set(v2.STOP_COPY)
            if state in v2.SAVING:
                assert len(file.drain()) == IMAGE
            elif state == v2.RESUMING:
                file.write(image[100:])
                guest.v2.set(v2.RUNNING)
        else:
            lost_guest(guest)
    # The data file outlives the device.
    assert removal.ends() < 10
    if file:
        error = error_of(file.write if state == v2.RESUMING else file.read, b"x" if state ==
                         v2.RESUMING else 1)
        assert error == errno.ENODEV
        file.close()
    comes_back(way, bdf, rng)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_during_a_transfer(bdf, way, rng, protocol):
    """The device goes away during the guest's transfer, and during the driver's own in a save."""
    with Client(bdf) as guest:
        content = guest.furnish(rng)
        guest.edu.start(BUFFER, guest.IOVA, 4096, TO_MEMORY)
        removal = Removal(way, guest)
        if way.answers:
            assert content in guest.save(protocol)
            assert guest.memory.bytes[:4096] == content
        else:
            begun = time.monotonic()
            # No arc leads from the error state to the next one, so the client gets EINVAL.
            assert error_of(guest.save, protocol) in CLEAR | {errno.EINVAL}
            assert error_of(guest.device.reset) in CLEAR
            assert time.monotonic() - begun < 5
    assert removal.ends() < 15
    comes_back(way, bdf, rng)


def power_fails_in_a_pass(bdf, rng, log, after):
    """Switches the power off so long after a pass has begun; returns whether it had not ended."""
    with Client(bdf) as guest:
        guest.furnish(rng)
        result = []
        with guest.v2.set(v2.PRE_COPY) as file:
            thread = threading.Thread(target=lambda: result.append(error_of(file.read)))
            log.take()
            thread.start()
            time.sleep(after)
            plug.power(False)
            try:
                thread.join(10)
                assert not thread.is_alive()
                # The bytes before the buffer's may have been read.
                assert result[0] in CLEAR | {0}
                if guest.v2.state == v2.PRE_COPY:
                    return False
                assert guest.v2.state == v2.ERROR
                assert error_of(file.read) == errno.ENODEV
                assert any("cut off from memory" in line for line in log.take())
                assert error_of(guest.v2.set, v2.STOP) == errno.EINVAL
                assert error_of(guest.device.reset) == errno.EIO
            finally:
                plug.power(True)
        assert guest.v2.state == v2.ERROR
        assert error_of(guest.device.reset) == errno.EIO
    return True


# Seconds. A pass takes 100 ms, of which a slow kernel needs a part to switch the power off.
@pytest.mark.parametrize("after", [0.02, 0.06, 0.09] if SLOWNESS == 1 else [0.02, 0.04, 0.06])
def test_power_fails_in_a_pass_of_the_drivers(bdf, rng, log, after):
    """The transfer that moves the buffer never ends; the client learns that the device is lost."""
    # A busy machine may sleep so long that the pass ends first.
    delays = (after * 0.8 ** attempt for attempt in range(12))
    assert any(power_fails_in_a_pass(bdf, rng, log, delay) for delay in delays)
    with Client(bdf) as guest:
        guest.is_fresh()
        guest.works(rng)


def test_the_user_is_killed_while_the_removal_waits(bdf, way, rng):
    def live(guest):
        guest.furnish(rng)
        guest.v2.set(v2.PRE_COPY)
        yield "saving"

    victim = Victim(bdf, live)
    assert victim.step()
    way.begin()
    thread = threading.Thread(target=way.remove)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    victim.kill()
    thread.join(30)
    assert not thread.is_alive()
    comes_back(way, bdf, rng)
