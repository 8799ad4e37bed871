# SPDX-License-Identifier: GPL-2.0-only
"""Threads that change the state, read, write, reset and close at once.

The results depend on chance. All calls must end, with errors that the uAPI names,
and the device must be fresh after a reset.
"""

import collections
import errno
import os
import random
import signal
import threading
import time

import pytest

from lib.clients import IMAGE, Client
from lib.libc import call, libc
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lib.userfault import lazy_memory

SECONDS = 4
# Wrong in this state, owned by another protocol, session over, nothing now.
ALLOWED = {errno.EINVAL, errno.EBUSY, errno.ENODEV, errno.ENOMSG}


class Files:
    """The last data file, which every thread uses."""

    def __init__(self):
        self.lock = threading.Lock()
        self.file = None

    def put(self, file):
        with self.lock:
            self.file, file = file, self.file
        if file:
            file.close()

    def get(self):
        """Returns a copy of the descriptor, or None."""
        with self.lock:
            return v2.DataFile(os.dup(self.file.fd)) if self.file else None


class Chaos:
    """Threads that act at random until the time is over."""

    def __init__(self, seconds=SECONDS, allowed=frozenset(ALLOWED)):
        self.end = time.monotonic() + seconds
        self.allowed = allowed
        self.failed = []
        self.done = collections.Counter()
        self.errors = collections.Counter()

    def _loop(self, name, work, rng):
        while time.monotonic() < self.end and not self.failed:
            try:
                work(rng)
                self.done[name] += 1
            except OSError as error:
                self.errors[error.errno] += 1
                if error.errno not in self.allowed:
                    self.failed.append((name, error))
            except BaseException as error:
                self.failed.append((name, error))

    def run(self, *works):
        threads = [
            threading.Thread(
                target=self._loop, args=(work.__name__, work, random.Random(number))
            )
            for number, work in enumerate(works)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "hangs"
        assert not self.failed, self.failed
        print(dict(self.done), {errno.errorcode[e]: n for e, n in self.errors.items()})


class Player:
    """What a thread can do with a device and its last data file."""

    def __init__(self, guest, image):
        self.guest = guest
        self.image = image
        self.files = Files()

    def _file(self):
        return self.files.get() or v2.DataFile(os.open("/dev/null", os.O_RDWR))

    def change(self, rng):
        file = self.guest.v2.set(rng.choice((1, 2, 2, 3, 4, 5, 6, 6, 7)))
        if file:
            self.files.put(file)

    def save(self, rng):
        """A sequence of calls that leads somewhere."""
        file = self.guest.v2.set(v2.PRE_COPY)
        if file:
            self.files.put(file)
        self.guest.v2.set(v2.STOP_COPY)
        self.guest.v2.set(v2.RUNNING)

    def load(self, rng):
        file = self.guest.v2.set(v2.RESUMING)
        if file:
            self.files.put(file)
        with self._file() as mine:
            mine.write(self.image, rng.choice((100, 5000)))
        self.guest.v2.set(v2.RUNNING)

    def read(self, rng):
        with self._file() as file:
            file.read(rng.choice((1, 100, 4096, 10000)))

    def write(self, rng):
        with self._file() as file:
            os.write(file.fd, rng.choice((self.image, self.image[:64], b"x")))

    def info(self, rng):
        assert self.guest.v2.data_size()
        assert self.guest.v2.state in v2.STATES
        with self._file() as file:
            file.precopy_info()

    def poll(self, rng):
        with self._file() as file:
            file.poll(rng.random() / 5)

    def forget(self, rng):
        time.sleep(rng.random() / 10)
        self.files.put(None)

    def reset(self, rng):
        time.sleep(rng.random() / 5)
        self.guest.device.reset()

    def region(self, rng):
        self.guest.region.state = rng.choice(
            (
                region_2018.SETUP,
                region_2018.PRECOPY,
                region_2018.STOPNCOPY,
                region_2018.RUNNING,
                region_2018.RESUME,
            )
        )
        self.guest.region.get_buffer()

    def v1(self, rng):
        self.guest.v1.state = rng.choice((*v1.STATES, v1.RUNNING))
        self.guest.v1.drain()
        assert self.guest.v1.state in v1.STATES

    def transfer(self, rng):
        self.guest.start_any(rng)
        time.sleep(rng.random() / 10)

    def register(self, rng):
        self.guest.state()
        self.guest.touch(rng.getrandbits(32))
        self.guest.is_there()

    def bad(self, rng):
        with self._file() as file:
            call(rng.choice((libc.read, libc.write)), file.fd, 8, 5000)


# /dev/null stands in for a missing file; the wrong direction is EBADF.
FILE_ERRORS = ALLOWED | {errno.EBADF, errno.ENOTTY}


def test_one_file_and_many_threads(guest, blank, rng):
    player = Player(guest, blank)
    Chaos(allowed=FILE_ERRORS).run(
        player.change, player.change, player.read, player.read, player.write, player.info,
        player.poll, player.forget, player.reset)
    guest.device.reset()
    player.files.put(None)
    guest.is_fresh()
    guest.works(rng)


def test_everything_at_once(guest, blank, rng):
    player = Player(guest, blank)
    # A reset may clear the registers before the command.
    guest.device.map(guest.memory, 0)
    Chaos(allowed=FILE_ERRORS | {errno.EFAULT}).run(
        player.change, player.save, player.load, player.read, player.write, player.info,
        player.poll, player.forget, player.reset, player.region, player.v1, player.transfer,
        player.register, player.bad)
    guest.device.reset()
    player.files.put(None)
    guest.is_fresh()
    guest.works(rng)


@pytest.mark.precopy
def test_readers_of_one_stream_share_it(guest, rng):
    """Each byte goes to exactly one of them."""
    content = guest.furnish(rng)
    assert content
    with guest.v2.set(v2.STOP_COPY) as file:
        counts = []

        def read(size):
            count = 0
            while data := file.read(size):
                count += len(data)
            counts.append(count)

        threads = [threading.Thread(target=read, args=(size,)) for size in (1, 3, 17, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert sum(counts) == IMAGE


@pytest.mark.parametrize("state", [*v2.SAVING, v2.RESUMING])
def test_close_while_others_use_the_file(bdfs, state):
    """Readers, writers and waiters all end with ENODEV when the device is closed."""
    for number in range(6):
        guest = Client(bdfs[0])
        file = guest.v2.set(state)
        found = []

        def use(work):
            while True:
                try:
                    work()
                except OSError as error:
                    if error.errno == errno.ENOMSG:
                        continue
                    found.append(error.errno)
                    return

        def wait():
            while not file.poll(30) & 8:
                pass
            raise OSError(errno.ENODEV, "woken")

        def move():
            if state == v2.RESUMING:
                os.write(file.fd, b"")
                os.write(file.fd, b"R" if number % 2 else b"RVFIOIMG")
            else:
                file.read(1)

        threads = [threading.Thread(target=use, args=(work,)) for work in (move, move, wait)]
        for thread in threads:
            thread.start()
        time.sleep(0.02 * number)
        guest.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "hangs"
        # The image may have been refused before the device was closed.
        assert set(found) <= {errno.ENODEV, errno.EINVAL}
        assert errno.ENODEV in found
        file.is_dead()
        file.close()
    with Client(bdfs[0]) as guest:
        guest.is_fresh()


@pytest.mark.parametrize("state", v2.STATES[1:])
def test_reset_against_a_change_of_state(guest, blank, state):
    """Whichever comes first, the state is consistent, and a file that was returned fits it."""
    for number in range(8):
        begun = threading.Barrier(2)
        found = []

        def change():
            begun.wait()
            try:
                found.append(guest.v2.set(state))
            except OSError as error:
                found.append(error)

        thread = threading.Thread(target=change)
        thread.start()
        begun.wait()
        time.sleep(number / 2000)
        guest.device.reset()
        thread.join(60)
        assert not thread.is_alive()
        (file,) = found
        assert not isinstance(file, OSError), file
        after = guest.v2.state
        assert after in (state, v2.RUNNING)
        if file:
            if after == v2.RUNNING:
                file.is_dead()
            elif state == v2.RESUMING:
                file.write(blank)
            else:
                assert file.read(1)
            file.close()
        guest.device.reset()
    assert guest.v2.save() == blank


def test_two_devices_at_once(pair, rng):
    """The devices do not affect each other."""
    ends = []

    def migrate(guest, seed):
        own = random.Random(seed)
        try:
            for _ in range(4):
                guest.furnish(own)
                expected = guest.state()
                image = guest.v2.save(size=own.choice((7, 100, 9999)))
                guest.v2.set(v2.RUNNING)
                guest.v2.load(image, size=own.choice((7, 100, 9999)))
                assert guest.state() == expected
            ends.append(None)
        except BaseException as error:
            ends.append(error)

    threads = [
        threading.Thread(target=migrate, args=(guest, rng.random())) for guest in pair
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()
    assert ends == [None, None]


def ends_when_killed(work):
    """Runs `work` in a process, which must wait, and must end soon after it is killed."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(1)
    time.sleep(0.5)
    waited = os.waitpid(pid, os.WNOHANG)[0] == 0
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if not waited or os.waitpid(pid, os.WNOHANG)[0]:
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the process waits on although it was killed")
    assert waited, "the process did not wait"


@pytest.mark.parametrize("state", [v2.STOP_COPY, v2.RESUMING])
def test_who_waits_for_another_user_of_the_file_can_be_killed(bdfs, rng, state):
    """A call waits for memory that never comes; calls behind it can be killed."""
    with Client(bdfs[0]) as guest:
        guest.furnish(rng)
        memory, fault = lazy_memory(4096)
        with guest.v2.set(state) as file:
            is_read = state == v2.STOP_COPY
            first = threading.Thread(
                target=libc.read if is_read else libc.write, args=(file.fd, memory.address, 4096)
            )
            first.start()

            def wait():
                # Otherwise the memory would stay away after this test.
                os.close(fault)
                if is_read:
                    os.read(file.fd, 100)
                else:
                    os.write(file.fd, b"x")

            try:
                time.sleep(0.2)
                assert first.is_alive()
                for _ in range(2):
                    ends_when_killed(wait)
                assert first.is_alive()
            finally:
                os.close(fault)
                first.join()
        guest.device.reset()
        guest.works(rng)
