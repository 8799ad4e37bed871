# SPDX-License-Identifier: GPL-2.0-only
"""A client of the migration region of November 2018, field by field."""

import struct

from lib.protocols.region import DEVICE_STATE, MigrationRegion

TYPE, SUBTYPE = 1 << 30, 1
HEADER = 76
PAGE = 4096

(NONE, RUNNING, SETUP, PRECOPY, STOPNCOPY, SAVE_COMPLETED, RESUME, RESUME_COMPLETED, FAILED,
 CANCELLED) = range(10)

# States in which the device runs, and those in which it is stopped.
RUNS = (RUNNING, SETUP, PRECOPY)
STOPPED = (NONE, STOPNCOPY, SAVE_COMPLETED, RESUME, RESUME_COMPLETED)
STATES = tuple(sorted(RUNS + STOPPED))

# Offset and size in bytes of each field after the state.
PRECOPY_ONLY, COMPATIBLE, POSTCOPY_ONLY, THRESHOLD = (4, 8), (12, 8), (20, 8), (28, 8)
DATA_OFFSET, DATA_SIZE = (36, 8), (44, 8)
START_ADDR, TOTAL, COPIED = (52, 8), (60, 8), (68, 8)
FIELDS = (DEVICE_STATE, PRECOPY_ONLY, COMPATIBLE, POSTCOPY_ONLY, THRESHOLD, DATA_OFFSET,
          DATA_SIZE, START_ADDR, TOTAL, COPIED)


def pages_of(bitmap, start, pages):
    """Returns the addresses of the pages whose bits are set, of `pages` pages from `start` on."""
    addresses = set()
    bits = int.from_bytes(bitmap, "little") & (1 << pages) - 1
    while bits:
        page = (bits & -bits).bit_length() - 1
        addresses.add(start + page * PAGE)
        bits &= bits - 1
    return addresses


class Region2018(MigrationRegion):
    """The region of an open device; data moves by mmap or by pread and pwrite."""

    type, subtype = TYPE, SUBTYPE

    def header(self):
        """Returns the whole header; the read tells the driver that buffer or bitmap was copied."""
        return self.raw_read(0, HEADER)

    def pending(self):
        """Returns precopy_only, compatible, postcopy_only."""
        return struct.unpack("<QQQ", self.raw_read(PRECOPY_ONLY[0], 24))

    def data_read(self, size):
        if self.area is not None:
            return self.area[:size]
        return self.raw_read(self.data_offset, size) if size else b""

    def data_write(self, data):
        if self.area is not None:
            self.area[: len(data)] = data
        else:
            assert self.raw_write(self.data_offset, data) == len(data)

    def get_buffer(self):
        """Takes one buffer; it is empty if there is nothing now, or nothing more."""
        assert self.get(DATA_OFFSET) == self.data_offset
        data = self.data_read(self.get(DATA_SIZE))
        self.pending()
        return data

    def drain(self):
        """Takes buffers until there is none."""
        image = b""
        while data := self.get_buffer():
            image += data
        return image

    def set_buffer(self, data):
        self.data_write(data)
        self.set(DATA_OFFSET, self.data_offset)
        self.set(DATA_SIZE, len(data))

    def save(self, precopy=True):
        """Takes the whole image; the device is left stopped, the save completed."""
        image = b""
        if precopy:
            self.state = SETUP
            self.state = PRECOPY
            image += self.drain()
        self.state = STOPNCOPY
        image += self.drain()
        assert self.pending() == (0, 0, 0)
        self.state = SAVE_COMPLETED
        return image

    def load(self, image, run=True):
        """Loads an image into the running device."""
        self.state = RESUME
        for at in range(0, len(image), self.data_size):
            self.set_buffer(image[at : at + self.data_size])
        self.state = RESUME_COMPLETED
        if run:
            self.state = RUNNING

    def reach(self, state, image):
        """Takes a running device to a state; loads `image` on the way to RESUME_COMPLETED."""
        if state == NONE:
            self.state = NONE
        elif state in (SETUP, PRECOPY):
            self.state = SETUP
            if state == PRECOPY:
                self.state = PRECOPY
        elif state in (STOPNCOPY, SAVE_COMPLETED):
            self.state = STOPNCOPY
            if state == SAVE_COMPLETED:
                self.drain()
                self.state = SAVE_COMPLETED
        elif state in (RESUME, RESUME_COMPLETED):
            self.state = RESUME
            if state == RESUME_COMPLETED:
                self.set_buffer(image)
                self.state = RESUME_COMPLETED
        assert self.state == state

    def dirty(self, start, pages):
        """Queries and clears a range; returns the set of dirty page addresses."""
        dirty = set()
        while pages:
            self.set(START_ADDR, start)
            self.set(TOTAL, pages)
            copied = self.get(COPIED)
            if not copied:
                break
            dirty |= pages_of(self.data_read((copied + 7) // 8), start, copied)
            start += copied * PAGE
            pages -= copied
        # Tells the driver that the bitmap was copied, so that the next buffer can take its place.
        self.pending()
        return dirty
