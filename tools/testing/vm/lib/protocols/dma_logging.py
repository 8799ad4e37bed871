# SPDX-License-Identifier: GPL-2.0-only
"""A client of DMA logging: the features VFIO_DEVICE_FEATURE_DMA_LOGGING_* of <linux/vfio.h>."""

import ctypes
import struct

from lib.protocols.v2 import DMA_LOGGING_REPORT, DMA_LOGGING_START, DMA_LOGGING_STOP
from lib.vfio import FEATURE_GET, FEATURE_SET

PAGE = 4096


def bits_of(bitmap):
    """Returns the numbers of the bits that are set, least significant bit of a byte first."""
    return {
        8 * at + bit for at, byte in enumerate(bitmap) if byte for bit in range(8) if byte >> bit & 1
    }


class DmaLogging:
    """DMA logging of an open device."""

    def __init__(self, device):
        self.device = device

    def start(self, *ranges, page_size=PAGE):
        """Starts for ranges of (address, bytes); returns the page size that the device chose."""
        list_ = (ctypes.c_uint64 * (2 * len(ranges)))(*[value for range_ in ranges for value in range_])
        control = struct.pack("QIIQ", page_size, len(ranges), 0, ctypes.addressof(list_))
        answer = self.device.feature(FEATURE_SET | DMA_LOGGING_START, control)
        return struct.unpack_from("Q", answer)[0]

    def stop(self):
        self.device.feature(FEATURE_SET | DMA_LOGGING_STOP)

    def report(self, iova, size, page_size=PAGE, bitmap=None):
        """Returns the addresses of pages of that size that were written, and clears them.

        `bitmap` may be a bytearray, whose bits stay set, or an address, in which case the method
        returns nothing.
        """
        address, place = bitmap, None
        if not isinstance(bitmap, int):
            words = -(-size // page_size // 64) + 1
            place = bytearray(8 * words) if bitmap is None else bitmap
            address = ctypes.addressof(ctypes.c_char.from_buffer(place))
        self.device.feature(
            FEATURE_GET | DMA_LOGGING_REPORT,
            struct.pack("QQQQ", iova, size, page_size, address),
        )
        if place is None:
            return None
        return {iova // page_size * page_size + bit * page_size for bit in bits_of(place)}
