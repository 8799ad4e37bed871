# SPDX-License-Identifier: GPL-2.0-only
"""The edu's sections in an image (rust/edu/image.rs), and damage to them."""

import struct
from dataclasses import replace

from lib import image
from lib.damage import flip
from lib.image import CRC, HEAD, HEADER, MAGIC, MANDATORY

REGISTERS, BUFFER = 1, 2
REGISTERS_SIZE, BUFFER_SIZE = 56, 4096

# The offsets in the registers' payload.
(STATUS, LIVENESS, OPERAND, RESULT, INTERRUPTS, RESERVED) = range(0, 24, 4)
(DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND) = range(24, 56, 8)

SECTIONS = ((BUFFER, BUFFER_SIZE, True), (REGISTERS, REGISTERS_SIZE, False))

REGISTERS_HEAD = struct.pack("<HHIQ", REGISTERS, MANDATORY, 1, 0)

DAMAGES = {
    "buffer": (MAGIC, HEADER + HEAD + CRC + 1000, flip),
    "registers": (REGISTERS_HEAD, HEAD + CRC + 30, flip),
    "cut": (REGISTERS_HEAD, HEAD + CRC, lambda data: b""),
}


class Image(image.Image):
    """An image whose sections are the edu's."""

    def set_register(self, offset, value, fmt="<I"):
        """Changes a field of the registers' payload."""
        registers = self.section(REGISTERS)
        payload = bytearray(registers.payload)
        struct.pack_into(fmt, payload, offset, value)
        registers.payload = bytes(payload)

    def delay(self, number):
        """Adds `number` buffers, each of which takes a physical device 100 ms to load."""
        buffer = self.section(BUFFER)
        others = [replace(buffer, payload=bytes([n]) * len(buffer.payload)) for n in (1, 2)]
        self.sections = others * (number // 2) + self.sections
        return self.renumber()
