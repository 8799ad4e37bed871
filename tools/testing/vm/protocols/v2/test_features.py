# SPDX-License-Identifier: GPL-2.0-only
"""The features of v2 and the ioctl of its data file: arguments, sizes, estimates."""

import ctypes
import errno
import fcntl
import os
import resource
import struct

import pytest

from devices import edu
from lib import modules
from lib.clients import IMAGE, IMAGE_PRECOPY, Client
from lib.errnos import refused
from lib.image import crc32c
from lib.libc import Pages, call, libc
from lib.protocols import region_v1 as v1
from lib.protocols import v2
from lib.vfio import DEVICE_FEATURE, FEATURE_GET, FEATURE_PROBE, FEATURE_SET

# Feature, the operations that it allows, bytes of its data.
FEATURES = (
    (v2.MIGRATION, FEATURE_GET, 8),
    (v2.MIG_DEVICE_STATE, FEATURE_GET | FEATURE_SET, 8),
    (v2.MIG_DATA_SIZE, FEATURE_GET, 8),
    (v2.PRECOPY_INFO_V2, FEATURE_SET, 0),
)
SETTABLE = tuple(state for state in v2.STATES if state != v2.ERROR)

libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)


def feature(guest, argsz, flags, data=bytes(64)):
    """Issues the ioctl with the given argsz; returns the data."""
    argument = bytearray(struct.pack("II", argsz, flags) + data)
    guest.device.ioctl(DEVICE_FEATURE, argument)
    return bytes(argument[8:])


def running(data=bytes(56)):
    return struct.pack("Ii", v2.RUNNING, -1) + data


def test_all_states_are_supported(guest):
    assert guest.v2.flags() == v2.HAS_STOP_COPY | v2.HAS_P2P | v2.HAS_PRE_COPY


@pytest.mark.parametrize("number,allowed,size", FEATURES)
def test_what_a_feature_can_be_asked_for(guest, number, allowed, size):
    for operations in (0, FEATURE_GET, FEATURE_SET, FEATURE_GET | FEATURE_SET):
        for probe in (0, FEATURE_PROBE):
            flags = number | operations | probe
            possible = not operations & ~allowed
            if not probe:
                possible = possible and operations in (FEATURE_GET, FEATURE_SET)
            if possible:
                feature(guest, 72, flags, running())
            else:
                with refused(errno.EINVAL):
                    feature(guest, 72, flags, running())
            # A probe needs no room for data; get and set do.
            for argsz in range(8 + size):
                if probe and possible and argsz >= 8:
                    feature(guest, argsz, flags, running())
                else:
                    with refused(errno.EINVAL):
                        feature(guest, argsz, flags, running())
            for unknown in (1 << 19, 1 << 31):
                with refused(errno.EINVAL):
                    feature(guest, 72, flags | unknown, running())
    assert guest.v2.state == v2.RUNNING


def test_a_probe_changes_nothing(guest):
    data = struct.pack("Ii", v2.STOP, 5)
    flags = FEATURE_PROBE | FEATURE_SET | v2.MIG_DEVICE_STATE
    assert guest.device.feature(flags, data) == data
    assert guest.v2.state == v2.RUNNING


@pytest.mark.no_dma_logging
@pytest.mark.parametrize("number", [v2.DMA_LOGGING_START, v2.DMA_LOGGING_STOP,
                                    v2.DMA_LOGGING_REPORT])
def test_dma_logging_is_not_offered(guest, number):
    """This kernel cannot log: a client that found the feature would fail later."""
    for flags in (FEATURE_PROBE, FEATURE_PROBE | FEATURE_SET, FEATURE_SET, FEATURE_GET):
        with refused(errno.ENOTTY):
            feature(guest, 72, flags | number)


@pytest.mark.parametrize("state", SETTABLE)
def test_data_size_is_what_is_left_and_never_0(guest, blank, state):
    file = guest.v2.reach(state, blank)
    if state not in v2.SAVING:
        assert guest.v2.data_size() == IMAGE
        if file:
            file.close()
        return
    left = IMAGE
    assert guest.v2.data_size() == left
    while left:
        try:
            left -= len(file.read(333))
        except OSError as error:
            assert error.errno == errno.ENOMSG
            assert left == IMAGE - IMAGE_PRECOPY
            guest.v2.set(v2.STOP_COPY)
        assert guest.v2.data_size() == max(left, 1)
    file.close()


def test_data_size_of_an_image_of_another_protocol(guest):
    guest.v1.state = v1.STOP_COPY
    assert guest.v2.data_size() == IMAGE
    guest.v1.drain()
    assert guest.v2.data_size() == 1


@pytest.mark.parametrize("precopy", v2.PRE_COPIES)
def test_precopy_info_goes_down_with_every_read(guest, precopy):
    with guest.v2.set(precopy) as file:
        left = IMAGE_PRECOPY
        while left:
            assert file.precopy_info() == (0, left, 0)
            left -= len(file.read(500))
        assert file.precopy_info() == (0, 0, 0)
        with refused(errno.ENOMSG):
            file.read()
        assert file.precopy_info() == (0, 0, 0)


@pytest.mark.edu
def test_dirty_bytes_are_what_changed_since(guest, rng):
    with guest.v2.set(v2.PRE_COPY) as file:
        file.drain()
        for _ in range(2):
            content = rng.randbytes(4096)
            guest.fill(content)
            assert file.precopy_info() == (0, 0, 28 + 4096)
            assert len(file.read(24)) == 24
            assert file.precopy_info() == (0, 0, 4096 + 4)
            assert file.drain() == content + struct.pack("<I", crc32c(content))
            assert file.precopy_info() == (0, 0, 0)


@pytest.mark.edu
def test_initial_bytes_that_were_0_stay_0(guest, rng):
    with guest.v2.set(v2.PRE_COPY) as file:
        while left := file.precopy_info()[1]:
            # No read has come to an end yet.
            file.read(min(left, 100))
        guest.fill(rng.randbytes(4096))
        assert file.precopy_info() == (0, 0, 28 + 4096)


@pytest.mark.edu
def test_initial_bytes_reach_0_while_the_guest_keeps_the_device_dirty(guest, rng):
    with guest.v2.set(v2.PRE_COPY) as file:
        sent = 0
        while sent < 2 * IMAGE_PRECOPY:
            sent += len(file.read(1500))
            guest.fill(rng.randbytes(4096))
            flags, initial, dirty = file.precopy_info()
            assert (flags, initial) == (0, max(IMAGE_PRECOPY - sent, 0))
            assert initial + dirty >= 28 + 4096


@pytest.mark.edu
def test_what_waits_for_a_transfer_is_dirty_when_it_can_go(guest):
    guest.memory.bytes[:4096] = b"\x77" * 4096
    guest.edu.start(guest.IOVA, edu.BUFFER, 4096, 0)
    with guest.v2.set(v2.PRE_COPY) as file:
        first = file.precopy_info()
        file.drain()
        info = file.precopy_info()
        assert guest.edu.read64(edu.DMA_COMMAND) & edu.RUN
        guest.edu.wait_transfer()
        assert (first, info) == ((0, 64, 0), (0, 0, 0))
        assert file.precopy_info() == (0, 0, 28 + 4096)
        assert b"\x77" * 4096 in file.drain()


def test_precopy_info_only_in_the_precopy_states(guest, blank):
    for before in (*v2.SAVING, v2.RESUMING):
        for after in SETTABLE:
            if v2.path(before, after) is None:
                continue
            guest.device.reset()
            with guest.v2.reach(before, blank) as file:
                new = guest.v2.set(after)
                if after not in v2.PRE_COPIES:
                    with refused(errno.EINVAL):
                        file.precopy_info()
                elif new:
                    with refused(errno.ENODEV):
                        file.precopy_info()
                    assert new.precopy_info()[1] == IMAGE_PRECOPY
                else:
                    assert file.precopy_info()[1] == IMAGE_PRECOPY
                if new:
                    new.close()


def test_precopy_info_argsz(guest):
    with guest.v2.set(v2.PRE_COPY) as file:
        for argsz in (0, 4, 8, 16, v2.PRECOPY_INFO_SIZE - 1):
            with refused(errno.EINVAL):
                file.precopy_info(argsz)
        for argsz in (v2.PRECOPY_INFO_SIZE, v2.PRECOPY_INFO_SIZE + 1, 4096, 0xFFFFFFFF):
            assert file.precopy_info(argsz)[1] == IMAGE_PRECOPY


def test_precopy_info_flags_are_output_once_asked_for(bdfs):
    with Client(bdfs[0]) as guest:
        with guest.v2.set(v2.PRE_COPY) as file:
            # The reserved field keeps its value.
            for flags in (0, 1, 0xDEADBEEF):
                assert file.precopy_info(flags=flags)[0] == flags
            guest.device.feature(FEATURE_SET | v2.PRECOPY_INFO_V2)
            for flags in (0, 1, 0xDEADBEEF):
                assert file.precopy_info(flags=flags)[0] == 0
            file.drain()
            assert file.precopy_info(flags=7) == (0, 0, 0)
            guest.v2.set(v2.RUNNING)
        with guest.v2.set(v2.PRE_COPY) as file:
            assert file.precopy_info(flags=7)[0] == 0
    # The next user must enable it again.
    with Client(bdfs[0]) as guest, guest.v2.set(v2.PRE_COPY) as file:
        assert file.precopy_info(flags=7)[0] == 7


def test_no_other_ioctl(guest):
    with guest.v2.set(v2.PRE_COPY) as file:
        for number in (v2.GET_PRECOPY_INFO - 1, v2.GET_PRECOPY_INFO + 1, DEVICE_FEATURE, 0x5401):
            with refused(errno.ENOTTY):
                fcntl.ioctl(file.fd, number, bytearray(64))


def test_pointers_that_are_wrong(guest):
    with Pages(4096) as pages, guest.v2.set(v2.PRE_COPY) as file:
        for address in (0, 8, pages.bad, pages.before_bad(8), 1 << 47, (1 << 64) - 4096):
            with refused(errno.EFAULT):
                call(libc.ioctl, file.fd, v2.GET_PRECOPY_INFO, address)
            with refused(errno.EFAULT):
                # Its head as well, or its data only, is in memory that is not mapped.
                head = struct.pack("II", 16, FEATURE_SET | v2.MIG_DEVICE_STATE)
                if address == pages.before_bad(8):
                    ctypes.memmove(address, head, 8)
                call(libc.ioctl, guest.device.fd, DEVICE_FEATURE, address)
        assert guest.v2.state == v2.PRE_COPY
        assert file.precopy_info()[1] == IMAGE_PRECOPY


def test_a_file_that_cannot_be_told_is_not_left_behind(guest, blank):
    """The state has changed by then, as with every driver; no file leaks."""
    with Pages(4096) as pages:
        data = struct.pack("IIIi", 16, FEATURE_SET | v2.MIG_DEVICE_STATE, v2.PRE_COPY, -1)
        ctypes.memmove(pages.before_bad(16), data, 16)
        # From here on the memory can only be read.
        assert libc.mprotect(ctypes.c_void_p(pages.address), ctypes.c_size_t(4096), 1) == 0
        before = os.listdir("/proc/self/fd")
        uses = module_uses()
        for _ in range(3):
            with refused(errno.EFAULT):
                call(libc.ioctl, guest.device.fd, DEVICE_FEATURE, pages.before_bad(16))
            assert guest.v2.state == v2.PRE_COPY
            assert os.listdir("/proc/self/fd") == before
            assert module_uses() == uses
            guest.v2.set(v2.RUNNING)
    assert guest.v2.save() == blank


def test_no_descriptor_left(guest, blank):
    """The call fails with EMFILE; the state has changed, no file is left, the device goes on."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with refused(errno.EMFILE):
            guest.v2.set(v2.STOP_COPY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert guest.v2.state == v2.STOP_COPY
    guest.v2.set(v2.RUNNING)
    assert guest.v2.save() == blank


def module_uses():
    with open(f"/sys/module/{modules.DRIVER}/refcnt", encoding="ascii") as file:
        return int(file.read())


def test_the_module_is_used_by_every_file(guest):
    uses = module_uses()
    files = []
    for number in range(1, 4):
        files.append(guest.v2.set(v2.PRE_COPY))
        assert module_uses() == uses + number
        guest.v2.set(v2.RUNNING)
        for file in files:
            file.is_dead()
    for number in reversed(range(3)):
        files.pop().close()
        assert module_uses() == uses + number
