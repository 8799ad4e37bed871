# SPDX-License-Identifier: GPL-2.0-only
"""Reads the pixels of a PNG file, after the PNG specification of the W3C."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pixels(data):
    """Returns width, height and the pixels line by line, each as (red, green, blue)."""
    assert data.startswith(SIGNATURE)
    chunks, at = {}, len(SIGNATURE)
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert zlib.crc32(kind + content) == checksum
        chunks[kind] = chunks.get(kind, b"") + content
        at += 12 + length
    assert at == len(data) and kind == b"IEND"
    width, height, *form = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    # Eight bits each of red, green and blue; not interlaced.
    assert form == [8, 2, 0, 0, 0]
    lines = _unfilter(zlib.decompress(chunks[b"IDAT"]), 3 * width, height)
    return width, height, [
        tuple(line[x : x + 3]) for line in lines for x in range(0, 3 * width, 3)
    ]


def _unfilter(data, width, height):
    """Undoes the filters of lines of `width` bytes."""
    assert len(data) == (width + 1) * height
    before, lines = bytes(width), []
    for start in range(0, len(data), width + 1):
        kind, line = data[start], bytearray(data[start + 1 : start + 1 + width])
        for x in range(width):
            left = line[x - 3] if x >= 3 else 0
            corner = before[x - 3] if x >= 3 else 0
            above = before[x]
            line[x] = (line[x] + _predict(kind, left, above, corner)) & 0xFF
        before = line
        lines.append(line)
    return lines


def _predict(kind, left, above, corner):
    if kind == 4:
        guess = left + above - corner
        return min((left, above, corner), key=lambda value: abs(guess - value))
    return (0, left, above, (left + above) // 2)[kind]
