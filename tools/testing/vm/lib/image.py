# SPDX-License-Identifier: GPL-2.0-only
"""The image of a device's state, taken apart and put together again.

The format is that of rust/migration/image/format.rs. A test changes one thing
and recomputes every checksum and length, so that nothing but the check for this
thing can refuse the image.
"""

import struct
from dataclasses import dataclass, field

MAGIC = b"RVFIOIMG"
HEADER, HEAD, CRC = 64, 24, 4
END, END_PAYLOAD = 0xFFFF, 16
MANDATORY = 1


def size_of(payloads, complete=True):
    """Returns the bytes of an image with such payloads; of its beginning, unless `complete`."""
    ends = [END_PAYLOAD] if complete else []
    return HEADER + sum(HEAD + length + CRC for length in (*payloads, *ends))


def _table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_TABLE = tuple(_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _sealed(data):
    return bytes(data) + struct.pack("<I", crc32c(data))


@dataclass
class Section:
    kind: int
    payload: bytes
    flags: int = MANDATORY
    offset: int = 0
    sequence: int = None


@dataclass
class Image:
    """Header without its checksum, and the sections before the end section."""

    header: bytearray
    sections: list = field(default_factory=list)

    @classmethod
    def parse(cls, data):
        image = cls(bytearray(data[: HEADER - CRC]))
        at = HEADER
        while True:
            kind, flags, sequence, offset, length = struct.unpack_from("<HHIQI", data, at)
            at += HEAD
            payload = data[at : at + length]
            at += length + CRC
            if kind == END:
                assert at == len(data)
                return image
            image.sections.append(Section(kind, payload, flags, offset, sequence))

    def section(self, kind):
        return next(section for section in self.sections if section.kind == kind)

    def build(self, end=None, flags=MANDATORY, offset=0):
        """Returns the bytes; sections without a sequence number get the next one.

        `end` may change the total length, the number of sections and the checksum. `flags` and
        `offset` are the end section's.
        """
        data = _sealed(self.header)
        sums = data[-CRC:]
        for number, section in enumerate(self.sections):
            sequence = number if section.sequence is None else section.sequence
            head = _sealed(
                struct.pack(
                    "<HHIQI",
                    section.kind,
                    section.flags,
                    sequence,
                    section.offset,
                    len(section.payload),
                )
            )
            payload = _sealed(section.payload)
            sums += head[-CRC:] + payload[-CRC:]
            data += head + payload
        total = len(data) + HEAD + 16 + CRC
        fields = (total, len(self.sections), crc32c(sums))
        if end is not None:
            fields = end(*fields)
        head = struct.pack("<HHIQI", END, flags, len(self.sections), offset, 16)
        return data + _sealed(head) + _sealed(struct.pack("<QII", *fields))

    def renumber(self):
        for section in self.sections:
            section.sequence = None
        return self
