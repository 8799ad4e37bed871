# SPDX-License-Identifier: GPL-2.0-only
"""Memory whose page faults user space must serve, and does not."""

import ctypes
import fcntl
import os
import struct

from lib.vfio import Memory

USERFAULTFD = 323
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00


def lazy_memory(size):
    """Returns memory whose page faults wait for an answer that does not come, and a descriptor.

    Closing the descriptor ends the waiting.
    """
    memory = Memory(size)
    return memory, make_lazy(memory)


def make_lazy(memory):
    """Has page faults of memory that has no pages wait as above; returns the descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
    missing = struct.pack("QQQQ", memory.address, memory.size, 1, 0)
    fcntl.ioctl(fd, UFFDIO_REGISTER, bytearray(missing))
    return fd
