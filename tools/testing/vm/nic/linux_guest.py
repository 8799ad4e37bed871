# SPDX-License-Identifier: GPL-2.0-only
"""The Linux guest with igbvf (qemu/linux/nic.c), and who talks to it: a stream of TCP, and pings.

The other end is this machine's kernel, by the virtio-net card on the same network.
"""

import selectors
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

from lib.clone import TARGET
from qemu.linux_guest import Line

# The directory of what qemu/linux/Makefile builds with GUEST=nic.
BUILT = TARGET / "linux-nic-guest"
HERE, GUEST, PORT = "10.1.0.1", "10.1.0.10", 5000

# The bytes of both streams, again and again: see nic.c.
PERIOD = 262139
BYTES = struct.pack(
    f"<{PERIOD // 8 + 1}Q", *((i + 1) * 0x9E3779B97F4A7C15 % (1 << 64) for i in range(PERIOD // 8 + 1))
)[:PERIOD]
PIECE = 16384
TWICE = BYTES + BYTES[:PIECE]


@dataclass(frozen=True)
class Beat(Line):
    """What the guest has done with its connection."""

    received: int
    sent: int
    #: Bytes that were not those of the stream.
    wrong: int
    connections: int


def give_address(interface):
    """Gives this machine's card on the network an address there.

    The guest may take seconds to say its hardware address if the machine is busy, and the kernel
    must not give up its connections for that. It asks once a second.
    """
    subprocess.run(["ip", "addr", "replace", f"{HERE}/24", "dev", interface], check=True)
    for name in ("mcast_solicit", "ucast_solicit"):
        with open(f"/proc/sys/net/ipv4/neigh/{interface}/{name}", "w", encoding="ascii") as file:
            file.write("300")


class Stream(threading.Thread):
    """One connection to the guest: streams in both directions, of which each byte is checked."""

    def __init__(self, patience=300):
        super().__init__()
        self.done = threading.Event()
        self.failure = None
        self.received = self.sent = 0
        # The longest time without a byte in either direction, in seconds.
        self.gap = 0
        self.socket = self._connect(patience)
        self.socket.setblocking(False)
        self.start()

    @staticmethod
    def _connect(patience):
        end = time.monotonic() + patience
        while True:
            try:
                return socket.create_connection((GUEST, PORT), timeout=20)
            except OSError:
                if time.monotonic() > end:
                    raise

    def _receive(self):
        data = self.socket.recv(PIECE)
        assert data, "the guest has closed the connection"
        at = self.received % PERIOD
        assert data == TWICE[at : at + len(data)], f"wrong bytes from {self.received} on"
        self.received += len(data)

    def _send(self):
        at = self.sent % PERIOD
        self.sent += self.socket.send(TWICE[at : at + PIECE])

    def run(self):
        last = time.monotonic()
        try:
            with selectors.DefaultSelector() as selector, self.socket:
                selector.register(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
                while not self.done.is_set():
                    for _, events in selector.select(0.1):
                        if events & selectors.EVENT_READ:
                            self._receive()
                        if events & selectors.EVENT_WRITE:
                            self._send()
                        now = time.monotonic()
                        self.gap, last = max(self.gap, now - last), now
        # The test gets it, whatever it is.
        except BaseException as failure:  # pylint: disable=broad-exception-caught
            self.failure = failure

    def progress(self):
        """Returns how many bytes have gone each way; fails if anything is wrong."""
        if self.failure:
            raise self.failure
        return self.received, self.sent

    def goes_on(self, count, machine, patience=300):
        """Waits until that many more bytes have gone each way."""
        received, sent = self.progress()

        def moved():
            now = self.progress()
            return now[0] >= received + count and now[1] >= sent + count

        machine.wait(moved, f"{count} more bytes each way", patience)

    def close(self):
        self.done.set()
        self.join()
        self.progress()


class Pings(threading.Thread):
    """Asks the guest for an echo every 20 ms, and counts the answers."""

    EVERY = 0.02

    def __init__(self):
        super().__init__()
        self.done = threading.Event()
        self.sent = self.answered = 0
        # The longest time between answers, in seconds.
        self.gap = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.connect((GUEST, 0))
        self.start()

    def _ask(self):
        packet = struct.pack(">BBHHH", 8, 0, 0, 0x5256, self.sent & 0xFFFF)
        total = sum(struct.unpack(">4H", packet))
        checksum = ~(total + (total >> 16)) & 0xFFFF
        self.socket.send(packet[:2] + struct.pack(">H", checksum) + packet[4:])
        self.sent += 1

    def _answers(self, seconds):
        """Counts the answers that come within a time."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 12)
        except TimeoutError:
            return False
        header = (data[0] & 15) * 4
        return data[header] == 0 and data[header + 4 : header + 6] == b"RV"

    def run(self):
        last = None
        following = time.monotonic()
        with self.socket:
            while not self.done.is_set():
                now = time.monotonic()
                if now >= following:
                    self._ask()
                    following = now + self.EVERY
                if self._answers(max(0.001, following - now)):
                    self.answered += 1
                    now = time.monotonic()
                    self.gap, last = max(self.gap, now - (last or now)), now

    def take_gap(self):
        """Returns the longest time between answers since the last call."""
        gap, self.gap = self.gap, 0
        return gap

    def close(self):
        self.done.set()
        self.join()
