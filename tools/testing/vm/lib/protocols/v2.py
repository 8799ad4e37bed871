# SPDX-License-Identifier: GPL-2.0-only
"""A client of the v2 protocol: features and data files of <linux/vfio.h>."""

import errno
import fcntl
import os
import select
import struct

from lib.errnos import refused
from lib.vfio import FEATURE_GET, FEATURE_SET

(ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P) = range(8)
STATES = tuple(range(8))
SAVING = (PRE_COPY, PRE_COPY_P2P, STOP_COPY)
PRE_COPIES = (PRE_COPY, PRE_COPY_P2P)

MIGRATION, MIG_DEVICE_STATE = 1, 2
DMA_LOGGING_START, DMA_LOGGING_STOP, DMA_LOGGING_REPORT = 6, 7, 8
MIG_DATA_SIZE, PRECOPY_INFO_V2 = 9, 12
HAS_STOP_COPY, HAS_P2P, HAS_PRE_COPY = 1, 2, 4

# _IO(VFIO_TYPE, VFIO_BASE + 21)
GET_PRECOPY_INFO = (ord(";") << 8) | 121
PRECOPY_INFO = "IIQQ"
PRECOPY_INFO_SIZE = struct.calcsize(PRECOPY_INFO)

# vfio_from_fsm_table of drivers/vfio/vfio_main.c; 0 if no arc leads there.
NEXT = (
    (0, 0, 0, 0, 0, 0, 0, 0),
    (0, 1, 5, 3, 4, 5, 5, 5),
    (0, 5, 2, 5, 5, 5, 6, 5),
    (0, 1, 1, 3, 1, 1, 0, 0),
    (0, 1, 1, 1, 4, 1, 1, 1),
    (0, 1, 2, 1, 1, 5, 2, 7),
    (0, 2, 2, 7, 2, 2, 6, 7),
    (0, 5, 5, 3, 5, 5, 6, 7),
)
# The arcs that return a data file.
BEGINS = {
    (RUNNING, PRE_COPY),
    (RUNNING_P2P, PRE_COPY_P2P),
    (STOP, STOP_COPY),
    (STOP, RESUMING),
}


def path(before, after):
    """Returns the states from one to the other, both included; None if no way leads there."""
    states = [before]
    while states[-1] != after:
        states.append(NEXT[states[-1]][after])
        if not states[-1]:
            return None
    return states if NEXT[before][after] else None


def begins(before, after):
    """Returns whether a change of state returns a data file."""
    states = path(before, after)
    return any(arc in BEGINS for arc in zip(states, states[1:]))


class DataFile:
    """A data file descriptor."""

    def __init__(self, fd):
        self.fd = fd

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, size=1 << 20):
        return os.read(self.fd, size)

    def drain(self, size=1 << 20):
        """Reads until there is nothing now, or nothing more."""
        image = b""
        while True:
            try:
                data = os.read(self.fd, size)
            except OSError as error:
                if error.errno != errno.ENOMSG:
                    raise
                return image
            if not data:
                return image
            image += data

    def write(self, image, size=1 << 20):
        """Writes all of an image, in calls of `size` bytes."""
        while image:
            image = image[os.write(self.fd, image[:size]) :]

    def mode(self):
        """Returns O_RDONLY or O_WRONLY."""
        return fcntl.fcntl(self.fd, fcntl.F_GETFL) & os.O_ACCMODE

    def is_dead(self):
        """Asserts that the file has ended for good."""
        for _ in range(2):
            with refused(errno.ENODEV):
                if self.mode() == os.O_RDONLY:
                    self.read(1)
                else:
                    os.write(self.fd, b"x")
            assert self.poll() & select.POLLERR

    def poll(self, seconds=0):
        """Returns the events that poll() reports, 0 if there is none in `seconds`."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN | select.POLLOUT)
        events = poll.poll(seconds * 1000)
        return events[0][1] if events else 0

    def precopy_info(self, argsz=PRECOPY_INFO_SIZE, flags=0):
        """Returns flags, initial_bytes, dirty_bytes."""
        data = bytearray(struct.pack(PRECOPY_INFO, argsz, flags, 0xAAAA, 0x5555))
        fcntl.ioctl(self.fd, GET_PRECOPY_INFO, data)
        return struct.unpack(PRECOPY_INFO, data)[1:]


class MigrationV2:
    """The protocol on an open device."""

    def __init__(self, device):
        self.device = device

    def flags(self):
        return struct.unpack("Q", self.device.feature(FEATURE_GET | MIGRATION, bytes(8)))[0]

    def set(self, state):
        """Changes the state; returns the DataFile if a session begins, else None."""
        data = struct.pack("Ii", state, -77)
        answer = self.device.feature(FEATURE_SET | MIG_DEVICE_STATE, data)
        found, fd = struct.unpack("Ii", answer)
        assert found == state
        assert fd >= -1
        return None if fd == -1 else DataFile(fd)

    def reach(self, state, image):
        """Takes a running device to a state; `image`, if any, is written on the way to RESUMING.

        Returns the data file, or None.
        """
        file = self.set(state)
        if state == RESUMING and image:
            file.write(image)
        assert self.state == state
        return file

    @property
    def state(self):
        data = struct.pack("Ii", 99, 99)
        answer = self.device.feature(FEATURE_GET | MIG_DEVICE_STATE, data)
        state, fd = struct.unpack("Ii", answer)
        assert fd == -1
        return state

    def data_size(self):
        return struct.unpack("Q", self.device.feature(FEATURE_GET | MIG_DATA_SIZE, bytes(8)))[0]

    def save(self, precopy=True, size=1 << 20):
        """Takes the whole image; the device is left stopped."""
        file = self.set(PRE_COPY if precopy else STOP_COPY)
        with file:
            image = file.drain(size)
            if precopy:
                assert self.set(STOP_COPY) is None
                image += file.drain(size)
            assert file.read() == b""
            assert self.set(STOP) is None
        return image

    def load(self, image, run=True, size=1 << 20):
        """Loads an image into the running device."""
        with self.set(RESUMING) as file:
            file.write(image, size)
            self.set(RUNNING if run else STOP)
