# SPDX-License-Identifier: GPL-2.0-only
"""Memory of which a part comes and goes while the kernel accesses it."""

import ctypes
import mmap
import os
import threading

from lib.libc import libc

PROT_NONE, PROT_READ = 0, mmap.PROT_READ
_FIXED = 0x10


class Flicker:
    """Five pages of a file, three of which another thread unmaps and maps again.

    The content is the file's, so that a test can access it whatever is mapped.
    """

    THERE = 2 * mmap.PAGESIZE
    SIZE = 3 * mmap.PAGESIZE

    def __init__(self):
        self.file = os.memfd_create("flicker")
        os.ftruncate(self.file, self.THERE + self.SIZE)
        self.address = libc.mmap(None, self.THERE + self.SIZE, 3, mmap.MAP_SHARED, self.file, 0)
        self.start = self.address + self.THERE
        self.done = threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self._flicker)

    def _flicker(self):
        while not self.done.is_set():
            # Takes the place of the pages, so that no other mapping can.
            libc.mmap(self.start, self.SIZE, PROT_NONE,
                      mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED, -1, 0)
            libc.mmap(self.start, self.SIZE, 3, mmap.MAP_SHARED | _FIXED, self.file,
                      self.THERE)
            self.rounds += 1

    def before(self, size):
        """Returns the address that is `size` bytes before the part that comes and goes."""
        return self.start - size

    def put(self, address, data):
        assert address + len(data) <= self.start + self.SIZE
        os.pwrite(self.file, data, address - self.address)

    def get(self, address, size):
        assert address + size <= self.start + self.SIZE
        return os.pread(self.file, size, address - self.address)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        libc.munmap(ctypes.c_void_p(self.address), ctypes.c_size_t(self.THERE + self.SIZE))
        os.close(self.file)
