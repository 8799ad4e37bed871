# SPDX-License-Identifier: GPL-2.0-only
"""The VFIO user ABI for the tests: group, container, device, regions.

Numbers and layouts are those of <linux/vfio.h>. Nothing here knows the
migration protocols; every method raises the OSError of its system call.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from dataclasses import dataclass, field

from lib.iommufd import IommuFd

THROUGH_IOMMUFD = os.environ.get("RVFIO_IOMMU") == "iommufd"


def _io(number):
    return (ord(";") << 8) | (100 + number)


GET_API_VERSION = _io(0)
CHECK_EXTENSION = _io(1)
SET_IOMMU = _io(2)
GROUP_GET_STATUS = _io(3)
GROUP_SET_CONTAINER = _io(4)
GROUP_UNSET_CONTAINER = _io(5)
GROUP_GET_DEVICE_FD = _io(6)
DEVICE_GET_INFO = _io(7)
DEVICE_GET_REGION_INFO = _io(8)
DEVICE_GET_IRQ_INFO = _io(9)
DEVICE_SET_IRQS = _io(10)
DEVICE_RESET = _io(11)
IOMMU_MAP_DMA = _io(13)
IOMMU_UNMAP_DMA = _io(14)
DEVICE_IOEVENTFD = _io(16)
DEVICE_FEATURE = _io(17)
IOMMU_DIRTY_PAGES = _io(17)
MAP_READ, MAP_WRITE = 1, 2
DIRTY_START, DIRTY_STOP, DIRTY_GET_BITMAP = 1, 2, 4

TYPE1_IOMMU = 1
TYPE1V2_IOMMU = 3
DEVICE_FLAGS_RESET = 1
DEVICE_FLAGS_PCI = 2
REGION_READ, REGION_WRITE, REGION_MMAP, REGION_CAPS = 1, 2, 4, 8
CAP_SPARSE_MMAP, CAP_TYPE, CAP_MSIX_MAPPABLE = 1, 2, 3
CONFIG_REGION = 7
BAR0_REGION = 0
PCI_REGIONS = 9
INTX, MSI, MSIX, ERR, REQ = range(5)
FEATURE_GET, FEATURE_SET, FEATURE_PROBE = 1 << 16, 1 << 17, 1 << 18
FEATURE_LOW_POWER_ENTRY, FEATURE_LOW_POWER_EXIT, FEATURE_DMA_BUF = 3, 5, 11

PCI_COMMAND = 4
COMMAND_MEMORY, COMMAND_MASTER = 2, 4


@dataclass
class Region:
    """What VFIO_DEVICE_GET_REGION_INFO returns for a region."""

    index: int
    flags: int
    size: int
    offset: int
    type: int = None
    subtype: int = None
    areas: list = field(default_factory=list)
    capabilities: set = field(default_factory=set)


def is_virtual(name):
    """Returns whether a device is a mediated one, whose name is its UUID."""
    return "/" not in name and name.count("-") == 4


def sysfs(name):
    """Returns the directory of a device: a PCI address, or the UUID of a mediated device."""
    bus = "mdev" if is_virtual(name) else "pci"
    return f"/sys/bus/{bus}/devices/{name}"


class EventFd:
    """An eventfd that counts interrupts."""

    def __init__(self):
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def take(self):
        """Returns the number of interrupts since the last call."""
        try:
            return os.eventfd_read(self.fd)
        except BlockingIOError:
            return 0

    def close(self):
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Memory:
    """Memory of this process for DMA: anonymous, or a mapping that the caller has made."""

    def __init__(self, size, mapping=None):
        self.bytes = mmap.mmap(-1, size) if mapping is None else mapping
        self.size = size
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))


class Container:
    """A type1 container that devices are opened with."""

    def __init__(self, kind=TYPE1V2_IOMMU):
        self.kind = kind
        self.fd = os.open("/dev/vfio/vfio", os.O_RDWR | os.O_CLOEXEC)
        self.groups = []

    def close(self):
        for fd in self.groups:
            os.close(fd)
        self.groups = []
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open(self, path):
        """Opens the device at a path in sysfs, with its group; returns its fd."""
        number = os.path.basename(os.readlink(f"{path}/iommu_group"))
        group = os.open(f"/dev/vfio/{number}", os.O_RDWR | os.O_CLOEXEC)
        self.groups.append(group)
        fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("i", self.fd))
        if len(self.groups) == 1:
            fcntl.ioctl(self.fd, SET_IOMMU, self.kind)
        name = ctypes.create_string_buffer(os.path.basename(path).encode())
        return fcntl.ioctl(group, GROUP_GET_DEVICE_FD, name)

    def map(self, address, iova, size, access=MAP_READ | MAP_WRITE):
        """Maps memory of this process at an I/O virtual address, for some access."""
        fcntl.ioctl(self.fd, IOMMU_MAP_DMA, struct.pack("IIQQQ", 32, access, address, iova, size))

    def unmap(self, iova, size):
        fcntl.ioctl(self.fd, IOMMU_UNMAP_DMA, bytearray(struct.pack("IIQQ", 24, 0, iova, size)))


class Device:
    """An open VFIO device, by PCI address or UUID, with an address space of its own for DMA.

    The space is a type1 container, or with RVFIO_IOMMU=iommufd an iommufd.
    """

    def __init__(self, bdf, space=None):
        """Opens a device in `space`, which closing the device closes as well."""
        self.bdf = bdf
        self.fd = -1
        self.space = space or (IommuFd() if THROUGH_IOMMUFD else Container())
        try:
            self.fd = self.space.open(sysfs(bdf))
            self.regions = [self.region_info(i) for i in range(self.info()[1])]
            self.enable(COMMAND_MEMORY | COMMAND_MASTER)
        except OSError:
            self.close()
            raise

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.space.close()

    @property
    def container(self):
        """The file descriptor of the container."""
        return self.space.fd

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ioctl(self, number, argument=0):
        return fcntl.ioctl(self.fd, number, argument)

    def info(self):
        """Returns the flags, the number of regions and the number of interrupts."""
        data = bytearray(struct.pack("IIIIII", 24, 0, 0, 0, 0, 0))
        self.ioctl(DEVICE_GET_INFO, data)
        return struct.unpack("IIIIII", data)[1:4]

    def region_info(self, index):
        """Returns the Region with its capabilities decoded; the size is 0 if there is none."""
        data = bytearray(4096)
        struct.pack_into("III", data, 0, len(data), 0, index)
        try:
            self.ioctl(DEVICE_GET_REGION_INFO, data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return Region(index, 0, 0, 0)
        _, flags, _, at, size, offset = struct.unpack_from("IIIIQQ", data)
        region = Region(index, flags, size, offset)
        while flags & REGION_CAPS and at:
            kind, _, following = struct.unpack_from("HHI", data, at)
            region.capabilities.add(kind)
            if kind == CAP_TYPE:
                region.type, region.subtype = struct.unpack_from("II", data, at + 8)
            elif kind == CAP_SPARSE_MMAP:
                (count,) = struct.unpack_from("I", data, at + 8)
                region.areas = [
                    struct.unpack_from("QQ", data, at + 16 + 16 * i) for i in range(count)
                ]
            at = following
        return region

    def find_region(self, type_, subtype):
        """Returns the device-specific region of that type, or None."""
        for region in self.regions:
            if (region.type, region.subtype) == (type_, subtype):
                return region
        return None

    def read(self, index, offset, size):
        return os.pread(self.fd, size, self.regions[index].offset + offset)

    def write(self, index, offset, data):
        return os.pwrite(self.fd, data, self.regions[index].offset + offset)

    def command(self):
        """Returns PCI_COMMAND as the guest sees it."""
        return struct.unpack("H", self.read(CONFIG_REGION, PCI_COMMAND, 2))[0]

    def hardware_command(self):
        """Returns PCI_COMMAND of the hardware; a virtual device has the guest's only."""
        if is_virtual(self.bdf):
            return self.command()
        with open(f"/sys/bus/pci/devices/{self.bdf}/config", "rb") as config:
            return struct.unpack_from("H", config.read(64), PCI_COMMAND)[0]

    def enable(self, bits, clear=0):
        """Sets and clears bits of PCI_COMMAND."""
        command = (self.command() | bits) & ~clear
        self.write(CONFIG_REGION, PCI_COMMAND, struct.pack("H", command))

    def map(self, memory, iova):
        """Maps memory for DMA at an I/O virtual address."""
        self.space.map(memory.address, iova, memory.size)

    def unmap(self, iova, size):
        self.space.unmap(iova, size)

    def dirty_pages(self, on):
        """Starts or stops the container's recording of dirty pages."""
        flags = DIRTY_START if on else DIRTY_STOP
        fcntl.ioctl(self.container, IOMMU_DIRTY_PAGES, struct.pack("II", 8, flags))

    def dirty_bitmap(self, iova, bitmap):
        """Fills a bytearray of zeroes with the container's bitmap of whole mappings at `iova`.

        Pages that were reported are clean then. A page is 4096 bytes, and a bitmap whole words.
        """
        place = (ctypes.c_char * len(bitmap)).from_buffer(bitmap)
        argument = struct.pack("IIQQQQQ", 48, DIRTY_GET_BITMAP, iova, len(bitmap) * 8 * 4096, 4096,
                               len(bitmap), ctypes.addressof(place))
        fcntl.ioctl(self.container, IOMMU_DIRTY_PAGES, argument)

    def set_irq(self, index, eventfd):
        """Enables interrupts of an index (INTX or MSI); number 0 signals an eventfd."""
        # VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER
        self.ioctl(DEVICE_SET_IRQS, struct.pack("IIIIIi", 24, 0x24, index, 0, 1, eventfd))

    def clear_irq(self, index):
        """Disables interrupts of an index."""
        # VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER
        self.ioctl(DEVICE_SET_IRQS, struct.pack("IIIII", 20, 0x21, index, 0, 0))

    def feature(self, flags, data=b""):
        """Issues VFIO_DEVICE_FEATURE and returns its data."""
        argument = bytearray(struct.pack("II", 8 + len(data), flags) + data)
        self.ioctl(DEVICE_FEATURE, argument)
        return bytes(argument[8:])

    def reset(self):
        self.ioctl(DEVICE_RESET)
