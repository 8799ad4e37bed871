# SPDX-License-Identifier: GPL-2.0-only
"""A client of the migration region of Linux 5.8 to 5.17, with the same accesses as QEMU."""

from lib.protocols.region import DEVICE_STATE, MigrationRegion

TYPE, SUBTYPE = 3, 1
HEADER = 32
PAGE = 4096

STOP, RUNNING, STOP_COPY, PRE_COPY, RESUMING = range(5)
STATES = tuple(range(5))
ERROR = 6

# Offset and size in bytes of each field after the state.
RESERVED, PENDING_BYTES, DATA_OFFSET, DATA_SIZE = (4, 4), (8, 8), (16, 8), (24, 8)
FIELDS = (DEVICE_STATE, RESERVED, PENDING_BYTES, DATA_OFFSET, DATA_SIZE)


class RegionV1(MigrationRegion):
    """The region of an open device; data moves by mmap or by accesses of 8, 4, 2 and 1 bytes."""

    type, subtype = TYPE, SUBTYPE

    def pending(self):
        return self.get(PENDING_BYTES)

    def _pieces(self, size):
        """Cuts the data section as QEMU does: aligned, at most 8 bytes."""
        at = 0
        while at < size:
            piece = next(n for n in (8, 4, 2, 1) if n <= size - at)
            yield at, piece
            at += piece

    def data_read(self, size):
        if self.area is not None:
            return self.area[:size]
        return b"".join(self.raw_read(self.data_offset + at, n) for at, n in self._pieces(size))

    def data_write(self, data):
        if self.area is not None:
            self.area[: len(data)] = data
            return
        for at, n in self._pieces(len(data)):
            assert self.raw_write(self.data_offset + at, data[at : at + n]) == n

    def get_buffer(self):
        """Returns the staged buffer; the next read of pending_bytes consumes it."""
        assert self.get(DATA_OFFSET) == self.data_offset
        return self.data_read(self.get(DATA_SIZE))

    def drain(self):
        """Takes buffers until nothing is pending, or a buffer is empty."""
        image = b""
        while self.pending():
            data = self.get_buffer()
            if not data:
                break
            image += data
        return image

    def set_buffer(self, data):
        assert self.get(DATA_OFFSET) == self.data_offset
        self.data_write(data)
        self.set(DATA_SIZE, len(data))

    def save(self, precopy=True):
        """Takes the whole image; the device is left stopped."""
        image = b""
        if precopy:
            self.state = PRE_COPY
            image += self.drain()
        self.state = STOP_COPY
        self.state = STOP_COPY
        image += self.drain()
        self.state = STOP
        return image

    def load(self, image, run=True):
        """Loads an image into the running device."""
        self.state = RESUMING
        for at in range(0, len(image), self.data_size):
            self.set_buffer(image[at : at + self.data_size])
        self.state = RUNNING if run else STOP
