# SPDX-License-Identifier: GPL-2.0-only
"""The host's side of the network card: its physical function and the network it is on.

QEMU's igb is on a hub with a virtio-net card of the same machine (scripts/vm.d/nic.sh), which the
tests send and receive with: the peer.
"""

import os
import pathlib
import select
import socket
import struct
import subprocess
import time

from lib import modules
from lib.patience import SLOWNESS

PCI = pathlib.Path("/sys/bus/pci")
# The driver of the virtual functions in the tests: the project's, or the stock one.
STOCK = "vfio-pci"
DRIVER = os.environ.get("RVFIO_NIC_DRIVER", "igbvf_vfio_pci")
PHYSICAL = ("0x8086", "0x10c9")
PEER_PREFIX = "52:54:00:00:02:"
# <linux/if_packet.h>: the tag that the kernel has taken out of a frame.
SOL_PACKET, PACKET_AUXDATA, AUXDATA, TAG_VALID = 263, 8, "IIIHHHH", 1 << 4
# An Ethernet type for experiments (IEEE 802).
TYPE = b"\x88\xb5"


def _run(*command):
    subprocess.run(command, check=True)


def _interface(directory):
    (name,) = os.listdir(directory)
    return name


def _up(interface):
    """Takes an interface into use, without packets that the kernel sends by itself."""
    pathlib.Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1", "ascii")
    _run("ip", "link", "set", interface, "up")


def frame(destination, source, payload):
    """Returns an Ethernet frame, which is 60 bytes at least."""
    return (destination + source + TYPE + payload).ljust(60, b"\0")


def datagram(destination, source, payload):
    """Returns a frame with a datagram of UDP over IPv4."""
    udp = struct.pack(">HHHH", 1000, 2000, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, 0x0A000001, 0x0A000002)
    total = sum(struct.unpack(">10H", ip))
    ip = ip[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + ip[12:]
    return (destination + source + b"\x08\0" + ip + udp).ljust(60, b"\0")


class Physical:
    """The physical function, with Linux's igb as its driver."""

    def __init__(self):
        if not modules.is_loaded("igb"):
            modules.load("igb")
        self.bdf = next(
            device.name
            for device in (PCI / "devices").iterdir()
            if tuple((device / name).read_text().strip() for name in ("vendor", "device"))
            == PHYSICAL
        )
        self.path = PCI / "devices" / self.bdf
        self.interface = _interface(self.path / "net")

    def set(self, *arguments):
        """ip link set: what the administrator sets."""
        _run("ip", "link", "set", self.interface, *arguments)

    def set_vf(self, number, *arguments):
        self.set("vf", str(number), *arguments)

    def up(self):
        _up(self.interface)
        self.wait_for_link()

    def has_link(self):
        return (self.path / "net" / self.interface / "carrier").read_text().strip() == "1"

    def wait_for_link(self, up=True, seconds=20):
        end = time.monotonic() + seconds * SLOWNESS
        while self.has_link() != up:
            assert time.monotonic() < end, "the link does not change in time"
            time.sleep(0.05)

    def set_number(self, number):
        """Creates that many virtual functions, without a driver, or removes all."""
        (self.path / "sriov_drivers_autoprobe").write_text("0")
        (self.path / "sriov_numvfs").write_text(str(number))

    def functions(self):
        """Returns the addresses of the virtual functions."""
        return [
            os.path.basename(os.readlink(link))
            for link in sorted(self.path.glob("virtfn*"), key=lambda path: int(path.name[6:]))
        ]


def bind(bdf):
    """Gives a virtual function to the driver."""
    if not modules.is_loaded(DRIVER.replace("-", "_")):
        modules.load(DRIVER)
    if modules.driver_of(bdf) != DRIVER:
        if modules.driver_of(bdf):
            modules.unbind(bdf)
        modules.bind(bdf, DRIVER)


class Peer:
    """The other card on the network, by a raw socket."""

    def __init__(self):
        if not modules.is_loaded("virtio_net"):
            modules.load("virtio_net")
        self.interface, address = next(
            (path.parent.name, path.read_text().strip())
            for path in pathlib.Path("/sys/class/net").glob("*/address")
            if path.read_text().startswith(PEER_PREFIX)
        )
        self.mac = bytes.fromhex(address.replace(":", ""))
        _up(self.interface)
        _run("ip", "link", "set", self.interface, "promisc", "on", "mtu", "9000")
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.bind((self.interface, 3))

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        assert self.socket.send(data) == len(data)

    def receive(self, number=1, seconds=10):
        """Waits for frames that others have sent, and returns them."""
        frames = []
        end = time.monotonic() + seconds * SLOWNESS
        while len(frames) < number:
            ready, _, _ = select.select([self.socket], [], [], max(0, end - time.monotonic()))
            assert ready, f"the peer has {len(frames)} of {number} frames"
            if (data := self._take()) is not None:
                frames.append(data)
        return frames

    def _take(self):
        """Returns a frame, or None if it is one that this machine has sent."""
        data, (control,), _, (_, _, kind, _, _) = self.socket.recvmsg(1 << 14, 64)
        status, *_, tag, protocol = struct.unpack_from(AUXDATA, control[2])
        if kind == socket.PACKET_OUTGOING:
            return None
        if status & TAG_VALID:
            data = data[:12] + struct.pack(">HH", protocol, tag) + data[12:]
        return data

    def is_quiet(self, seconds=0.2):
        """Asserts that nobody sends for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                data = self._take()
                assert data is None, f"a frame arrives: {data[:32].hex()}"
