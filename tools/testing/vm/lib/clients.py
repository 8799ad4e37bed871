# SPDX-License-Identifier: GPL-2.0-only
"""An open device with a client for each protocol, and what several tests do with it."""

import ctypes
import errno
import fcntl
import mmap
import os
import select

from devices import edu
from devices.edu import BUFFER_SIZE
from lib.errnos import refused
from lib.guest import Guest
from lib.protocols import region_2018 as m
from lib.protocols import region_v1 as v1
from lib.protocols import v2

PROTOCOLS = ("region_2018", "region_v1", "v2")

# Header, buffer section, registers section, end section.
IMAGE = 64 + (28 + 4096) + (28 + 56) + (28 + 16)
# What of it can go while the device runs.
IMAGE_PRECOPY = 64 + (28 + 4096)


class Client(Guest):
    """A guest whose device also has clients of the v1 region and of v2."""

    def __init__(self, bdf, use_mmap=True, space=None):
        super().__init__(bdf, use_mmap=use_mmap, space=space)
        try:
            self.v1 = v1.RegionV1(self.device, use_mmap)
            self.v2 = v2.MigrationV2(self.device)
        except BaseException:
            super().close()
            raise

    def close(self):
        self.v1.close()
        super().close()

    def save(self, protocol="v2", precopy=True):
        """Takes the whole image; the device is left stopped."""
        client = {"region_2018": self.region, "region_v1": self.v1, "v2": self.v2}[protocol]
        return client.save(precopy)

    def load(self, protocol, image):
        """Loads an image; the device runs then."""
        {"region_2018": self.region, "region_v1": self.v1, "v2": self.v2}[protocol].load(image)

    def run(self, protocol):
        """Lets the device run again."""
        if protocol == "region_2018":
            self.region.state = m.RUNNING
        elif protocol == "region_v1":
            self.v1.state = v1.RUNNING
        else:
            self.v2.set(v2.RUNNING)

    def furnish(self, rng):
        """Brings registers and buffer to a state of which little is 0; returns the buffer."""
        content = rng.randbytes(BUFFER_SIZE)
        self.fill(content)
        self.edu.write32(edu.LIVENESS, rng.getrandbits(32))
        self.edu.factorial(rng.randint(1, 12))
        for register in (edu.DMA_SOURCE, edu.DMA_DESTINATION, edu.DMA_COUNT):
            self.edu.write64(register, rng.getrandbits(64))
        self.edu.write32(edu.INTERRUPT_RAISE, rng.getrandbits(32))
        return content

    def is_fresh(self):
        """Asserts that the device runs and is as after a reset, for every protocol."""
        assert self.v2.state == v2.RUNNING
        assert self.v1.state == v1.RUNNING
        assert self.region.state == m.RUNNING
        assert self.edu.state() == edu.FRESH
        assert self.buffer() == bytes(BUFFER_SIZE)

    def works(self, rng):
        """Asserts that the running device computes, moves data and migrates."""
        assert self.edu.factorial(6) == 720
        content = rng.randbytes(64)
        self.fill(content, at=128)
        assert self.buffer()[128:192] == content
        expected = self.edu.state()
        image = self.v2.save(precopy=False)
        assert len(image) == IMAGE
        self.v2.set(v2.RUNNING)
        self.v2.load(image)
        assert self.edu.state() == expected


def reach(guest, state, image):
    """Takes a running device to a v2 state; `image` is loaded on the way to RESUMING.

    Returns the data file, or None.
    """
    file = guest.v2.set(state)
    if state == v2.RESUMING and image:
        file.write(image)
    assert guest.v2.state == state
    return file


def mode_of(file):
    """Returns whether a data file is O_RDONLY or O_WRONLY."""
    return fcntl.fcntl(file.fd, fcntl.F_GETFL) & os.O_ACCMODE


def is_dead(file):
    """Asserts that a data file has ended for good."""
    for _ in range(2):
        with refused(errno.ENODEV):
            if mode_of(file) == os.O_RDONLY:
                file.read(1)
            else:
                os.write(file.fd, b"x")
        assert file.poll() & select.POLLERR


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
for _name in ("read", "write"):
    getattr(libc, _name).restype = ctypes.c_ssize_t
    getattr(libc, _name).argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
for _name in ("pread", "pwrite"):
    getattr(libc, _name).restype = ctypes.c_ssize_t
    getattr(libc, _name).argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long)


def call(function, *arguments):
    """Calls a function of the C library; raises the OSError that it reports."""
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Pages:
    """Memory whose second half cannot be accessed, or can only be read."""

    def __init__(self, good, protection=0):
        """`good` bytes, rounded up to pages, and as many behind them with other protection."""
        self.size = -(-good // mmap.PAGESIZE) * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.address = libc.mmap(None, 2 * self.size, 3, flags, -1, 0)
        self.bad = self.address + self.size
        assert libc.mprotect(ctypes.c_void_p(self.bad), ctypes.c_size_t(self.size), protection) == 0

    def close(self):
        libc.munmap(ctypes.c_void_p(self.address), ctypes.c_size_t(2 * self.size))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def before_bad(self, size):
        """Returns the address of the last `size` bytes that can be accessed."""
        return self.bad - size
