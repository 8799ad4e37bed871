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
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
    memory = Memory(size)
    missing = struct.pack("QQQQ", memory.address, size, 1, 0)
    fcntl.ioctl(fd, UFFDIO_REGISTER, bytearray(missing))
    return memory, fd
