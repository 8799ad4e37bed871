# SPDX-License-Identifier: GPL-2.0-only
"""The user ABI of iommufd: an address space for DMA, and the VFIO devices attached to it.

Numbers and layouts are those of <linux/iommufd.h> and <linux/vfio.h>. Only kernels with
CONFIG_VFIO_DEVICE_CDEV have it. Every method raises the OSError of its system call.
"""

import fcntl
import os
import struct
import subprocess

#: Whether the kernel has iommufd.
HAS_IOMMUFD = not subprocess.run(
    ("modprobe", "--dry-run", "--quiet", "iommufd"), check=False
).returncode


def _io(number):
    return (ord(";") << 8) | number


DESTROY, IOAS_ALLOC, IOAS_MAP, IOAS_UNMAP = _io(0x80), _io(0x81), _io(0x85), _io(0x86)
HWPT_ALLOC = _io(0x89)
DEVICE_BIND, DEVICE_ATTACH, DEVICE_DETACH = _io(118), _io(119), _io(120)
MAP_FIXED_IOVA, MAP_WRITEABLE, MAP_READABLE = 1, 2, 4


class IommuFd:
    """An iommufd with one address space, in place of vfio.Container."""

    def __init__(self):
        self.fd = os.open("/dev/iommu", os.O_RDWR | os.O_CLOEXEC)
        # The number of the device that was bound last.
        self.device = 0
        try:
            self.ioas = self.allocate()
        except OSError:
            self.close()
            raise

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def allocate(self):
        """Returns the number of a new address space."""
        data = bytearray(struct.pack("III", 12, 0, 0))
        fcntl.ioctl(self.fd, IOAS_ALLOC, data)
        return struct.unpack("III", data)[2]

    def allocate_tables(self, ioas):
        """Returns the number of new page tables of the bound device for an address space."""
        data = bytearray(struct.pack("IIIIIIIIQII", 48, 0, self.device, ioas, *[0] * 7))
        fcntl.ioctl(self.fd, HWPT_ALLOC, data)
        return struct.unpack_from("IIIII", data)[4]

    def open(self, path):
        """Opens the device at a path in sysfs, attached to the address space; returns its fd."""
        fd = self.bind(path)
        try:
            self.attach(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def bind(self, path):
        """Opens a device without attaching it to an address space; returns its fd."""
        (name,) = os.listdir(f"{path}/vfio-dev")
        fd = os.open(f"/dev/vfio/devices/{name}", os.O_RDWR | os.O_CLOEXEC)
        data = bytearray(struct.pack("IIiI", 16, 0, self.fd, 0))
        try:
            fcntl.ioctl(fd, DEVICE_BIND, data)
        except OSError:
            os.close(fd)
            raise
        self.device = struct.unpack("IIiI", data)[3]
        return fd

    def attach(self, fd, ioas=None):
        """Attaches a device to an address space, in place of the one before."""
        ioas = self.ioas if ioas is None else ioas
        fcntl.ioctl(fd, DEVICE_ATTACH, bytearray(struct.pack("III", 12, 0, ioas)))

    def detach(self, fd):
        """Detaches a device from its address space, after which it reaches no memory."""
        fcntl.ioctl(fd, DEVICE_DETACH, struct.pack("II", 8, 0))

    def map(self, address, iova, size, ioas=None, access=MAP_WRITEABLE | MAP_READABLE):
        """Maps memory of this process at an I/O virtual address, for some access."""
        fcntl.ioctl(
            self.fd,
            IOAS_MAP,
            bytearray(struct.pack(
                "IIIIQQQ", 40, MAP_FIXED_IOVA | access,
                self.ioas if ioas is None else ioas, 0, address, size, iova,
            )),
        )

    def unmap(self, iova, size):
        fcntl.ioctl(
            self.fd, IOAS_UNMAP, bytearray(struct.pack("IIQQ", 24, self.ioas, iova, size))
        )
