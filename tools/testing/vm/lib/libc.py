# SPDX-License-Identifier: GPL-2.0-only
"""Calls of the C library with any address, and memory that cannot be accessed."""

import ctypes
import mmap
import os

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
        """Maps `good` bytes, rounded up to pages, and as many after them with `protection`."""
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
