# SPDX-License-Identifier: GPL-2.0-only
"""Migrations of a guest from one virtual function to another, by each protocol, step by step."""

from devices.igbvf_rings import PAGE
from lib.protocols import region_2018, v2
from lib.protocols import region_v1 as v1
from lib.vfio import COMMAND_MASTER, COMMAND_MEMORY
from nic.guest import IOVA, NicGuest


class ByContainer:
    """What is common to protocols whose clients ask the container for dirty pages."""

    # The container does not ask the driver, which tells it of pages now and then, and of all at
    # the stop.
    tells_at_once = False

    def __init__(self, device):
        self.device = device

    def track(self):
        """Begins to record dirty pages."""
        self.device.dirty_pages(True)

    def dirty(self, iova, pages):
        """Returns the pages that were written, which are clean then."""
        bitmap = bytearray(pages // 8)
        self.device.dirty_bitmap(iova, bitmap)
        return region_2018.pages_of(bitmap, iova, pages)


class ByV2(ByContainer):
    """v2. A driver may lack pre-copy."""

    def __init__(self, device):
        super().__init__(device)
        self.client = v2.MigrationV2(device)
        self.file = None
        self.has_precopy = bool(self.client.flags() & v2.HAS_PRE_COPY)

    def begin(self):
        if self.has_precopy:
            self.file = self.client.set(v2.PRE_COPY)
            return self.file.drain()
        return b""

    def stop(self):
        self.file = self.client.set(v2.STOP_COPY) or self.file

    def finish(self):
        with self.file:
            image = self.file.drain()
            self.client.set(v2.STOP)
        return image

    def run(self):
        self.client.set(v2.RUNNING)

    def load(self, image):
        with self.client.set(v2.RESUMING) as file:
            file.write(image)
            self.client.set(v2.STOP)

    def close(self):
        pass


class ByRegion2018:
    """The region of 2018, whose client asks the driver for dirty pages."""

    has_precopy = True
    tells_at_once = True

    def __init__(self, device):
        self.client = region_2018.Region2018(device)

    def track(self):
        """Recording has begun with the migration."""

    def dirty(self, iova, pages):
        return self.client.dirty(iova, pages)

    def begin(self):
        self.client.state = region_2018.SETUP
        self.client.state = region_2018.PRECOPY
        return self.client.drain()

    def stop(self):
        self.client.state = region_2018.STOPNCOPY

    def finish(self):
        image = self.client.drain()
        self.client.state = region_2018.SAVE_COMPLETED
        return image

    def run(self):
        self.client.state = region_2018.RUNNING

    def load(self, image):
        self.client.load(image, run=False)

    def close(self):
        self.client.close()


class ByRegionV1(ByContainer):
    """The region of Linux 5.8."""

    has_precopy = True

    def __init__(self, device):
        super().__init__(device)
        self.client = v1.RegionV1(device)

    def begin(self):
        self.client.state = v1.PRE_COPY
        return self.client.drain()

    def stop(self):
        self.client.state = v1.STOP_COPY

    def finish(self):
        image = self.client.drain()
        self.client.state = v1.STOP
        return image

    def run(self):
        self.client.state = v1.RUNNING

    def load(self, image):
        self.client.load(image, run=False)

    def close(self):
        self.client.close()


PROTOCOLS = {"region_2018": ByRegion2018, "region_v1": ByRegionV1, "v2": ByV2}


class Mobile(NicGuest):
    """A guest that can be migrated by one protocol."""

    def __init__(self, bdf, protocol, **how):
        super().__init__(bdf, **how)
        try:
            self.by = PROTOCOLS[protocol](self.device)
        except BaseException:
            super().close()
            raise

    def close(self):
        self.by.close()
        super().close()

    def save(self, precopy=True):
        """Takes the whole image; the device is left stopped."""
        image = self.by.begin() if precopy else b""
        self.by.stop()
        return image + self.by.finish()

    def load(self, image):
        """Loads an image as QEMU does: PCI settings and interrupts come before the start."""
        self.device.enable(0, clear=COMMAND_MEMORY | COMMAND_MASTER)
        self.by.load(image)
        self.device.enable(COMMAND_MEMORY | COMMAND_MASTER)
        self.vf.signal(*self.events)
        self.by.run()

    def take_memory(self, source):
        self.memory.memory.bytes[:] = source.memory.memory.bytes[:]

    def take_place(self, source):
        """Goes on with what the software of the source's guest knows."""
        self.vf.seen = source.vf.seen
        self.memory.next = source.memory.next
        self.receivers, self.senders = source.receivers, source.senders
        for ring in self.receivers + self.senders:
            ring.move(self.vf, self.memory)

    def move_to(self, target, precopy=True):
        """Migrates this guest to `target`, whose function is fresh; returns the image."""
        image = self.save(precopy)
        target.take_memory(self)
        target.load(image)
        target.take_place(self)
        return image

    def dirty(self):
        """Returns the pages that are reported as written by the device, which are clean then."""
        return self.by.dirty(IOVA, self.memory.memory.size // PAGE)
