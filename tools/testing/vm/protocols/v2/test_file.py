# SPDX-License-Identifier: GPL-2.0-only
"""The data file of v2: the stream, its ends and errors, and waiting for it."""

import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import select
import signal
import threading
import time

import pytest

from devices import edu
from lib import modules
from lib.clients import IMAGE, IMAGE_PRECOPY, Client
from lib.errnos import refused
from devices.edu_image import BUFFER, Image
from lib.kernel_log import KernelLog
from lib.libc import Pages, call, libc
from lib.protocols import v2
from lib.resets import find_resettable, reset_by_others

READABLE, WRITABLE = select.POLLIN, select.POLLOUT


def test_which_way_a_file_goes(guest, blank):
    for state in (*v2.SAVING, v2.RESUMING):
        with guest.v2.set(state) as file:
            saves = state != v2.RESUMING
            assert file.mode() == (os.O_RDONLY if saves else os.O_WRONLY)
            assert not os.get_inheritable(file.fd)
            if saves:
                with refused(errno.EBADF):
                    os.write(file.fd, blank)
            else:
                with refused(errno.EBADF):
                    file.read()
        guest.device.reset()


@pytest.mark.parametrize("state", [*v2.SAVING, v2.RESUMING])
def test_a_file_has_no_position(guest, state):
    with guest.v2.set(state) as file:
        buffer = ctypes.create_string_buffer(8)
        for offset in (0, 1, 4096):
            for function in (libc.pread, libc.pwrite):
                with refused(errno.ESPIPE):
                    call(function, file.fd, ctypes.addressof(buffer), 8, offset)
            with refused(errno.ESPIPE):
                os.preadv(file.fd, [bytearray(8)], offset)
            with refused(errno.ESPIPE):
                os.pwritev(file.fd, [b"1234"], offset)
            for whence in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
                with refused(errno.ESPIPE):
                    os.lseek(file.fd, offset, whence)
        # A file for writing only cannot be mapped in any case.
        with refused(errno.EACCES if state == v2.RESUMING else errno.ENODEV):
            mmap.mmap(file.fd, 4096, prot=mmap.PROT_READ)


@pytest.mark.parametrize("precopy", [True, False])
@pytest.mark.parametrize("size", [1, 27, 4096, 4097, 1 << 20])
def test_the_stream_is_the_same_in_pieces_of_every_size(guest, rng, precopy, size):
    guest.furnish(rng)
    expected = guest.state()
    image = guest.v2.save()
    guest.v2.set(v2.RUNNING)
    assert guest.v2.save(precopy, size) == image
    guest.v2.set(v2.RUNNING)
    guest.device.reset()
    guest.v2.load(image, size=size)
    assert guest.state() == expected


def test_a_read_takes_what_there_is(guest):
    """One call goes on from section to section."""
    with guest.v2.set(v2.PRE_COPY) as file:
        assert len(file.read()) == IMAGE_PRECOPY
        guest.v2.set(v2.STOP_COPY)
        assert len(file.read()) == IMAGE - IMAGE_PRECOPY
        assert file.read() == b""
        guest.v2.set(v2.RUNNING)
    with guest.v2.set(v2.STOP_COPY) as file:
        assert len(file.read(IMAGE - 1)) == IMAGE - 1
        assert len(file.read()) == 1


def test_vectors(guest, blank):
    with guest.v2.set(v2.STOP_COPY) as file:
        parts = [bytearray(size) for size in (1, 70, 4096, 1, 4096)]
        assert os.readv(file.fd, parts) == IMAGE
        assert b"".join(parts)[:IMAGE] == blank
        guest.v2.set(v2.RUNNING)
    with guest.v2.set(v2.RESUMING) as file:
        assert os.writev(file.fd, [blank[:1], blank[1:70], blank[70:]]) == IMAGE
        guest.v2.set(v2.RUNNING)


def test_calls_of_no_bytes(guest):
    for state in (*v2.SAVING, v2.RESUMING):
        with guest.v2.set(state) as file:
            for _ in range(2):
                if state == v2.RESUMING:
                    assert os.write(file.fd, b"") == 0
                else:
                    assert file.read(0) == b""
        guest.device.reset()


@pytest.mark.edu
def test_nothing_now_and_the_end(guest, rng):
    with guest.v2.set(v2.PRE_COPY) as file:
        image = file.drain()
        for state in (v2.PRE_COPY, v2.PRE_COPY_P2P, v2.PRE_COPY):
            guest.v2.set(state)
            for size in (1, 5000):
                with refused(errno.ENOMSG):
                    file.read(size)
                assert file.poll() == 0
        guest.fill(rng.randbytes(4096))
        assert file.poll() == READABLE
        image += file.drain()
        guest.v2.set(v2.STOP_COPY)
        assert file.poll() == READABLE
        image += file.drain()
        for size in (1, 5000, 0):
            assert file.read(size) == b""
            assert file.poll() == READABLE
    sections = Image.parse(image).sections
    assert [section.kind for section in sections[:2]] == [BUFFER, BUFFER]


def end_by_state(guest):
    guest.v2.set(v2.RUNNING)


def end_by_reset(guest):
    guest.device.reset()


def end_by_close(guest):
    guest.close()


ENDS = (end_by_state, end_by_reset, end_by_close)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", [*v2.SAVING, v2.RESUMING])
@pytest.mark.parametrize("part", [0, 100, IMAGE])
def test_the_end_of_a_session_is_for_good(guest, blank, state, end, part):
    with guest.v2.set(state) as file:
        if state == v2.RESUMING:
            if end == end_by_state:
                part = IMAGE
            file.write(blank[:part])
        elif part:
            file.read(part)
        end(guest)
        file.is_dead()
        with refused(errno.EINVAL):
            file.precopy_info()
        if end == end_by_close:
            return
        # A new session does not revive the file.
        for other in (*v2.SAVING, v2.RESUMING):
            with guest.v2.set(other) as new:
                file.is_dead()
                if other != v2.RESUMING:
                    assert new.read(1) == blank[:1]
            guest.device.reset()


@pytest.mark.precopy
def test_the_saving_states_share_a_file(guest, blank):
    image = b""
    with guest.v2.set(v2.PRE_COPY) as file:
        for state in (v2.PRE_COPY_P2P, v2.PRE_COPY, v2.PRE_COPY_P2P, v2.STOP_COPY):
            assert guest.v2.set(state) is None
            image += file.read(1000)
        image += file.drain()
    assert image == blank


def test_closing_a_file_ends_nothing(guest, blank):
    """The device keeps its state; only the data that was not read is lost."""
    guest.v2.set(v2.PRE_COPY).close()
    assert guest.v2.state == v2.PRE_COPY
    guest.v2.set(v2.STOP_COPY)
    assert guest.v2.data_size() == IMAGE
    guest.v2.set(v2.RUNNING)
    guest.v2.set(v2.RESUMING).close()
    with refused():
        guest.v2.set(v2.STOP)
    guest.device.reset()
    assert guest.v2.save() == blank


def test_a_copy_of_the_descriptor_is_the_same_file(guest, blank):
    with guest.v2.set(v2.STOP_COPY) as file, v2.DataFile(os.dup(file.fd)) as copy:
        image = b""
        for reader in itertools.cycle((file, copy)):
            data = reader.read(99)
            if not data:
                break
            image += data
    assert image == blank


def test_a_process_that_got_the_file_reads_it(guest, blank):
    ours, theirs = os.pipe()
    with guest.v2.set(v2.STOP_COPY) as file:
        first = file.read(50)
        pid = os.fork()
        if not pid:
            try:
                os.write(theirs, file.drain())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(theirs)
        image = first
        while data := os.read(ours, 65536):
            image += data
        os.close(ours)
        assert file.read() == b""
    assert image == blank


@pytest.mark.precopy
def test_a_bad_address_loses_no_bytes_of_a_save(guest, rng):
    guest.furnish(rng)
    expected = guest.v2.save()
    guest.v2.set(v2.RUNNING)
    with Pages(8192) as pages:
        for good in (0, 1, 63, 64, 65, 100, 4095, 4096, 4097, 4295):
            with guest.v2.set(v2.STOP_COPY) as file:
                image = b""
                address = pages.before_bad(good)
                try:
                    count = call(libc.read, file.fd, address, IMAGE + 8192)
                    image = ctypes.string_at(address, count)
                    assert 0 < count <= good
                except OSError as error:
                    assert error.errno == errno.EFAULT
                with refused(errno.EFAULT):
                    call(libc.read, file.fd, pages.bad, 100)
                image += file.drain()
                assert image == expected
                guest.v2.set(v2.RUNNING)


def test_a_bad_address_loses_no_bytes_of_a_load(guest, rng):
    guest.furnish(rng)
    expected = guest.state()
    image = guest.v2.save()
    guest.v2.set(v2.RUNNING)
    with Pages(8192) as pages:
        for good in (0, 1, 64, 100, 4095, 4096, 4097, 4295):
            guest.device.reset()
            with guest.v2.set(v2.RESUMING) as file:
                address = pages.before_bad(good)
                ctypes.memmove(address, image, good)
                taken = 0
                try:
                    # The call returns how much was taken, or fails if nothing was.
                    taken = call(libc.write, file.fd, address, IMAGE)
                    assert 0 < taken <= good
                except OSError as error:
                    assert error.errno == errno.EFAULT
                with refused(errno.EFAULT):
                    call(libc.write, file.fd, pages.bad, 100)
                file.write(image[taken:])
                guest.v2.set(v2.RUNNING)
            assert guest.state() == expected


def damaged(image):
    """Returns images that must be refused, by what is wrong with them."""
    def flip(at):
        return image[:at] + bytes([image[at] ^ 1]) + image[at + 1 :]

    yield "magic", flip(0)
    yield "header", flip(30)
    yield "section's head", flip(64 + 4)
    yield "payload", flip(64 + 24 + 1000)
    yield "checksum", flip(64 + 24 + 4096)
    yield "registers", flip(IMAGE_PRECOPY + 30)
    yield "end", flip(IMAGE - 10)
    yield "trailing", image + b"\0"
    yield "repeated", image + image
    yield "reordered", image[:64] + image[IMAGE_PRECOPY:] + image[64:IMAGE_PRECOPY]
    yield "gap", image[:64] + image[IMAGE_PRECOPY:]
    yield "zeros", bytes(IMAGE)


@pytest.mark.precopy
@pytest.mark.parametrize("size", [1 << 20, 50])
def test_a_damaged_stream_is_refused_by_the_write(guest, log, rng, size):
    guest.furnish(rng)
    image = guest.v2.save()
    guest.v2.set(v2.RUNNING)
    for what, bad in damaged(image):
        KernelLog.pace()
        log.take()
        with guest.v2.set(v2.RESUMING) as file:
            with refused(errno.EINVAL):
                file.write(bad, size)
            assert any("migration image refused" in line for line in log.take()), what
            for _ in range(2):
                with refused(errno.EINVAL):
                    file.write(image)
            for state in (v2.STOP, v2.RUNNING, v2.STOP_COPY, v2.PRE_COPY):
                with refused(errno.EINVAL):
                    guest.v2.set(state)
                assert guest.v2.state == v2.RESUMING
            guest.device.reset()
            file.is_dead()
    guest.is_fresh()
    guest.v2.load(image)


@pytest.mark.precopy
@pytest.mark.parametrize("length", [0, 1, 63, 64, 4000, IMAGE_PRECOPY, IMAGE - 1])
def test_an_incomplete_stream_fails_the_way_out_of_resuming(guest, blank, length):
    with guest.v2.set(v2.RESUMING) as file:
        file.write(blank[:length])
        for state in (v2.STOP, v2.RUNNING, v2.STOP_COPY):
            with refused(errno.EINVAL):
                guest.v2.set(state)
            assert guest.v2.state == v2.RESUMING
        # The data so far is kept, and the rest may follow.
        file.write(blank[length:])
        guest.v2.set(v2.RUNNING)


def test_a_load_is_applied_before_the_way_out(guest, rng):
    """With a later error, QEMU would start the guest with a blank device."""
    fresh = guest.touched()
    guest.furnish(rng)
    guest.touch(0x55)
    assert fresh != 0x55
    image = guest.v2.save()
    guest.v2.set(v2.RUNNING)
    guest.device.reset()
    with guest.v2.set(v2.RESUMING) as file:
        file.write(image[:-1])
        assert guest.touched() == fresh
        file.write(image[-1:])
        assert guest.touched() == 0x55
        guest.v2.set(v2.RUNNING)


@pytest.mark.edu
@pytest.mark.physical
def test_a_signal_ends_a_long_write(guest, blank):
    """The write returns how much was taken; the image is whole once the rest has followed."""
    image = Image.parse(blank).delay(40).build()
    handled = []
    before = signal.signal(signal.SIGALRM, lambda *_: handled.append(True))
    try:
        with guest.v2.set(v2.RESUMING) as file:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            taken = os.write(file.fd, image)
            assert 0 < taken < len(image) and handled
            while taken < len(image):
                taken += os.write(file.fd, image[taken:])
            guest.v2.set(v2.RUNNING)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert guest.v2.save() == blank


# Poll.


class Waiter:
    """A thread that polls a data file and keeps the events that woke it."""

    def __init__(self, file, events=READABLE, seconds=30):
        self.events = None

        def wait():
            poll = select.poll()
            poll.register(file.fd, events)
            found = poll.poll(seconds * 1000)
            self.events = found[0][1] if found else 0

        self.thread = threading.Thread(target=wait)
        self.thread.start()
        time.sleep(0.2)
        assert self.thread.is_alive(), f"did not wait: {self.events}"

    def woken(self):
        begin = time.monotonic()
        self.thread.join(30)
        assert not self.thread.is_alive(), "hangs"
        assert time.monotonic() - begin < 10, "was not woken"
        return self.events


@pytest.fixture
def drained(guest):
    """A data file in PRE_COPY with nothing to read."""
    with guest.v2.set(v2.PRE_COPY) as file:
        file.drain()
        assert file.poll() == 0
        yield file


@pytest.mark.edu
def test_poll_wakes_up_for_a_transfer_into_the_buffer(guest, drained, rng):
    for _ in range(3):
        waiter = Waiter(drained)
        content = rng.randbytes(4096)
        guest.fill(content)
        assert waiter.woken() == READABLE
        assert content in drained.drain()
        assert drained.poll() == 0


@pytest.mark.edu
def test_poll_wakes_up_for_nothing_else(guest, drained):
    waiter = Waiter(drained, seconds=2)
    guest.write_memory(0, 64)
    guest.touch(1)
    guest.edu.factorial(5)
    waiter.thread.join(30)
    assert waiter.events == 0


@pytest.mark.parametrize("state", [v2.STOP_COPY, v2.RUNNING, v2.STOP, v2.RUNNING_P2P, v2.RESUMING])
def test_poll_wakes_up_for_a_change_of_state(guest, drained, state):
    waiter = Waiter(drained)
    new = guest.v2.set(state)
    events = waiter.woken()
    if state == v2.STOP_COPY:
        assert events == READABLE
    else:
        assert events & select.POLLERR
        drained.is_dead()
    if new:
        new.close()


@pytest.mark.parametrize("end", [end_by_reset, end_by_close])
def test_poll_wakes_up_for_the_end(guest, drained, end):
    waiter = Waiter(drained)
    end(guest)
    assert waiter.woken() & select.POLLERR
    drained.is_dead()


@pytest.mark.physical
def test_poll_wakes_up_for_a_reset_by_others(bdfs):
    """A reset by the administrator bypasses the driver."""
    del bdfs
    bdf = find_resettable()
    modules.rebind(bdf)
    try:
        with Client(bdf) as guest, guest.v2.set(v2.PRE_COPY) as file:
            file.drain()
            waiter = Waiter(file)
            reset_by_others(bdf)
            assert waiter.woken() & select.POLLERR
            file.is_dead()
            assert guest.v2.state == v2.RUNNING
    finally:
        modules.unbind(bdf)


def test_poll_of_a_load(guest, blank):
    with guest.v2.set(v2.RESUMING) as file:
        assert file.poll() == WRITABLE
        waiter = Waiter(file, events=READABLE)
        file.write(blank)
        assert file.poll() == WRITABLE
        guest.v2.set(v2.RUNNING)
        assert waiter.woken() & select.POLLERR
        file.is_dead()


@pytest.mark.edu
def test_select_and_epoll(guest, drained, rng):
    assert select.select([drained.fd], [], [], 0) == ([], [], [])
    with select.epoll() as epoll:
        epoll.register(drained.fd, select.EPOLLIN)
        assert epoll.poll(0) == []
        guest.fill(rng.randbytes(100))
        assert epoll.poll(10) == [(drained.fd, select.EPOLLIN)]
        assert select.select([drained.fd], [], [], 0) == ([drained.fd], [], [])
        guest.v2.set(v2.RUNNING)
        assert epoll.poll(0)[0][1] & select.EPOLLERR


@pytest.mark.edu
def test_while_a_transfer_runs_there_is_nothing(guest, drained, rng):
    """The buffer cannot be read then; the estimate, poll and read agree about that."""
    for _ in range(3):
        guest.memory.bytes[:4096] = rng.randbytes(4096)
        guest.edu.start(guest.IOVA, edu.BUFFER, 4096, 0)
        looks = 0
        while True:
            # The transfer may end between any two of these calls.
            dirty = drained.precopy_info()[1:] != (0, 0)
            ready = drained.poll() == READABLE
            try:
                data = drained.read()
                break
            except OSError as error:
                assert error.errno == errno.ENOMSG
            assert not dirty and not ready, "poll reports data, but there is nothing to read"
            looks += 1
        assert looks > 1
        assert not guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
        assert guest.memory.bytes[:4096] in data
        assert drained.precopy_info() == (0, 0, 0) and drained.poll() == 0


@pytest.mark.edu
@pytest.mark.parametrize("late", [False, True])
def test_poll_wakes_up_when_a_transfer_ends(guest, drained, rng, late):
    """Poll wakes up although nobody accesses the device."""
    waiter = None if late else Waiter(drained)
    guest.memory.bytes[:4096] = rng.randbytes(4096)
    guest.edu.start(guest.IOVA, edu.BUFFER, 4096, 0)
    if late:
        assert drained.poll() == 0
        assert drained.poll(10) == READABLE
    else:
        assert waiter.woken() == READABLE
    assert guest.memory.bytes[:4096] in drained.read()


@pytest.mark.edu
def test_a_poller_that_keeps_looking_does_not_delay_another(guest, drained):
    with select.epoll() as epoll:
        epoll.register(drained.fd, select.EPOLLIN | select.EPOLLET)
        for _ in range(3):
            assert epoll.poll(0) == []
            waiter = Waiter(drained)
            guest.edu.start(guest.IOVA, edu.BUFFER, 4096, 0)
            while waiter.thread.is_alive():
                drained.poll()
            assert waiter.woken() == READABLE
            assert epoll.poll(10) == [(drained.fd, select.EPOLLIN)]
            drained.drain()


@pytest.mark.edu
def test_a_file_is_closed_while_a_transfer_runs(guest):
    """Nothing is left of a thread that waits for the transfer's end."""
    for _ in range(20):
        with guest.v2.set(v2.PRE_COPY) as file:
            file.drain()
            guest.edu.start(guest.IOVA, edu.BUFFER, 64, 0)
            file.poll()
        guest.v2.set(v2.RUNNING)
        guest.edu.wait_transfer()


def test_no_blocking(guest, drained):
    """Reads never block, whatever the flags of the file are."""
    flags = fcntl.fcntl(drained.fd, fcntl.F_GETFL)
    for extra in (os.O_NONBLOCK, 0):
        fcntl.fcntl(drained.fd, fcntl.F_SETFL, flags | extra)
        with refused(errno.ENOMSG):
            drained.read()
