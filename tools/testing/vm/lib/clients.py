# SPDX-License-Identifier: GPL-2.0-only
"""An open device with a client for each protocol."""

import random

from devices.chosen import DEVICE
from lib import image
from lib.guest import Guest
from lib.protocols import region_2018
from lib.protocols import region_v1 as v1
from lib.protocols import v2

PROTOCOLS = ("region_2018", "region_v1", "v2")

# Bytes of the image of a device that does nothing.
IMAGE = image.size_of(size for _, size, _ in DEVICE.SECTIONS)
# The part that can go while the device runs.
IMAGE_PRECOPY = image.size_of((size for _, size, runs in DEVICE.SECTIONS if runs), complete=False)


class Client(Guest):
    """A guest whose device also has clients of the v1 region and of v2."""

    def __init__(self, bdf, use_mmap=True, space=None):
        super().__init__(bdf, use_mmap=use_mmap, space=space)
        try:
            self.v1 = v1.RegionV1(self.device, use_mmap)
            self.v2 = v2.MigrationV2(self.device)
        except BaseException:
            super().close()
            raise

    def close(self):
        self.v1.close()
        super().close()

    def save(self, protocol="v2", precopy=True):
        """Takes the whole image; the device is left stopped."""
        client = {"region_2018": self.region, "region_v1": self.v1, "v2": self.v2}[protocol]
        return client.save(precopy)

    def load(self, protocol, image):
        """Loads an image; the device runs then."""
        {"region_2018": self.region, "region_v1": self.v1, "v2": self.v2}[protocol].load(image)

    def run(self, protocol):
        """Lets the device run again."""
        if protocol == "region_2018":
            self.region.state = region_2018.RUNNING
        elif protocol == "region_v1":
            self.v1.state = v1.RUNNING
        else:
            self.v2.set(v2.RUNNING)

    def is_fresh(self, thorough=True):
        """Asserts that the device runs and is in the state after a reset, for every protocol."""
        assert self.v2.state == v2.RUNNING
        assert self.v1.state == v1.RUNNING
        super().is_fresh(thorough)

    def works(self, rng=random):
        """Asserts that the running device does what it is for, and migrates."""
        super().works(rng)
        expected = self.state()
        image = self.v2.save(precopy=False)
        assert len(image) == IMAGE
        self.v2.set(v2.RUNNING)
        self.v2.load(image)
        assert self.state() == expected
