# SPDX-License-Identifier: GPL-2.0-only
"""Damage to a device's image on its way, which the target must notice."""

import struct

from lib.image import CRC, HEADER, MAGIC, crc32c

DEVICE_ID, MAJOR = 18, 8


def flip(data):
    """Changes the last byte."""
    return data[:-1] + bytes([data[-1] ^ 0x10])


def header_with(offset):
    """Returns a change of a field of the image's header, with the checksum made right."""

    def change(header):
        data = bytearray(header[:-CRC])
        data[offset] += 1
        return bytes(data) + struct.pack("<I", crc32c(data))

    return change


# Arguments of Proxy: the pattern that the bytes begin with, their number, and their change. The
# device's module has more.
DAMAGES = {
    "device": (MAGIC, HEADER, header_with(DEVICE_ID)),
    "version": (MAGIC, HEADER, header_with(MAJOR)),
}
