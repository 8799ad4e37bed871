# SPDX-License-Identifier: GPL-2.0-only
"""What the clients of both migration regions share: the header's fields and the data section."""

import mmap

# Offset and size in bytes of the one field that both headers have.
DEVICE_STATE = (0, 4)


class MigrationRegion:
    """A migration region of an open device; data moves by mmap or by read and write calls."""

    # The values of the region's type capability.
    type, subtype = None, None

    def __init__(self, device, use_mmap=True):
        self.device = device
        self.info = device.find_region(self.type, self.subtype)
        assert self.info is not None, f"no migration region of type {self.type}"
        (self.data_offset, self.data_size) = self.info.areas[0]
        self.area = None
        if use_mmap:
            self.area = mmap.mmap(
                device.fd, self.data_size, offset=self.info.offset + self.data_offset
            )

    def close(self):
        """Drops the mapping, which keeps the device open."""
        if self.area is not None:
            self.area.close()
            self.area = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def raw_read(self, offset, size):
        return self.device.read(self.info.index, offset, size)

    def raw_write(self, offset, data):
        return self.device.write(self.info.index, offset, data)

    def get(self, field):
        return int.from_bytes(self.raw_read(*field), "little")

    def set(self, field, value):
        offset, size = field
        assert self.raw_write(offset, value.to_bytes(size, "little")) == size

    @property
    def state(self):
        return self.get(DEVICE_STATE)

    @state.setter
    def state(self, value):
        self.set(DEVICE_STATE, value)
