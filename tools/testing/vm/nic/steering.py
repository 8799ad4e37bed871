# SPDX-License-Identifier: GPL-2.0-only
"""Has the card deliver to queue 1 of a virtual function.

QEMU's igb does not distribute packets over the queues of a virtual function (VMDq with RSS). It
does over the card's 16 queues (RSS alone), of which 8 + n is queue 1 of function n. The registers
are the PF's, so a test writes them behind the back of its driver, which needs a kernel with
iomem=relaxed.
"""

import contextlib
import mmap
import os
import struct

MRQC, RETA = 0x5818, 0x5C00
RETA_WORDS = 32
RSS, IPV4 = 2, 1 << 17


@contextlib.contextmanager
def queue_1_receives(card, number):
    """Every packet of IPv4 that the card accepts goes to queue 1 of a function."""
    fd = os.open(card.path / "resource0", os.O_RDWR | os.O_CLOEXEC)
    try:
        registers = mmap.mmap(fd, 0x20000)
    finally:
        os.close(fd)

    def write(register, *values):
        for at, value in enumerate(values):
            words[(register >> 2) + at] = value

    with registers, memoryview(registers).cast("I") as words:
        before = {register: words[register >> 2 : (register >> 2) + count].tolist()
                  for register, count in ((MRQC, 1), (RETA, RETA_WORDS))}
        write(RETA, *struct.unpack("<I", bytes([8 + number] * 4)) * RETA_WORDS)
        write(MRQC, RSS | IPV4)
        try:
            yield
        finally:
            for register in (RETA, MRQC):
                write(register, *before[register])
