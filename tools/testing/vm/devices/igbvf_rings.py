# SPDX-License-Identifier: GPL-2.0-only
"""Receive and transmit rings of the 82576's virtual function, with advanced descriptors.

See sections 7.1.5 and 7.2.2 of the data sheet. The rings and buffers lie in a guest's memory; a
ring goes on with the memory and the function of another guest, to which both were migrated.
"""

import struct
from collections import deque
from dataclasses import dataclass

from devices import igbvf
from devices.igbvf import QUEUE, QUEUE_ENABLE

DESCRIPTOR = 16
PAGE = 4096

ONE_BUFFER, SPLIT, SPLIT_ALWAYS = 1 << 25, 2 << 25, 5 << 25
DD, EOP, VLAN_STRIPPED = 1, 2, 8
SPLIT_DONE, HEADER_TOO_LONG = 1 << 15, 1 << 23
# UDP, TCP, IPv4 and IPv6 headers of PSRTYPE.
SPLIT_TYPES = 0x330

DATA, CONTEXT, EXTENDED = 3 << 20, 2 << 20, 1 << 29
LAST, WITH_FCS, REPORT, WITH_VLAN = 1 << 24, 1 << 25, 1 << 27, 1 << 30


def pages_of(address, size):
    """Returns the addresses of the pages that a piece of memory lies in."""
    return range(address // PAGE * PAGE, address + size, PAGE)


class Memory:
    """A guest's memory at an I/O virtual address, of which pieces are handed out."""

    def __init__(self, memory, iova):
        self.memory = memory
        self.iova = iova
        self.next = iova
        # The pages that the guest has written.
        self.written = set()

    def take(self, size, align=PAGE):
        """Returns the address of a new piece, a multiple of `align`; so is the piece's size."""
        address = -(-self.next // align) * align
        self.next = address + -(-size // align) * align
        assert self.next <= self.iova + self.memory.size, "the guest has too little memory"
        return address

    def read(self, address, size):
        at = address - self.iova
        return self.memory.bytes[at : at + size]

    def write(self, address, data):
        at = address - self.iova
        self.memory.bytes[at : at + len(data)] = data
        self.written.update(pages_of(address, len(data)))


@dataclass
class Packet:
    """A received frame without its FCS; the header is what the device has split off."""

    data: bytes
    vlan: int = None
    header: bytes = b""
    buffers: int = 1


class Ring:
    """What both kinds of rings share."""

    base, length, head, tail, control = (None,) * 5

    def __init__(self, function, memory, number, slots):
        self.function = function
        self.memory = memory
        self.offset = number * QUEUE
        self.slots = slots
        self.address = memory.take(slots * DESCRIPTOR)

    def move(self, function, memory):
        """Goes on with another function, which this one's state was loaded into."""
        self.function, self.memory = function, memory

    def pages(self):
        """Returns the pages of the descriptors."""
        return set(pages_of(self.address, self.slots * DESCRIPTOR))

    def read(self, register):
        return self.function.read(register + self.offset)

    def write(self, register, value):
        self.function.write(register + self.offset, value)

    def is_enabled(self):
        return bool(self.read(self.control) & QUEUE_ENABLE)

    def disable(self):
        self.write(self.control, self.read(self.control) & ~QUEUE_ENABLE)
        self.function.wait(lambda: not self.is_enabled(), what="the queue stays enabled")

    def place(self):
        """Disables the queue, and tells the device of an empty ring."""
        self.disable()
        self.write(self.base, self.address & 0xFFFFFFFF)
        self.write(self.base + 4, self.address >> 32)
        self.write(self.length, self.slots * DESCRIPTOR)
        self.write(self.head, 0)
        self.write(self.tail, 0)

    def enable(self, thresholds):
        self.write(self.control, QUEUE_ENABLE | thresholds)
        self.function.wait(self.is_enabled, what="the queue stays disabled")

    def descriptor(self, slot):
        return self.memory.read(self.address + slot * DESCRIPTOR, DESCRIPTOR)

    def set_descriptor(self, slot, data):
        self.memory.write(self.address + slot * DESCRIPTOR, data)


class ReceiveRing(Ring):
    """A receive ring. Each slot gets a new buffer, of twice as many as there are slots."""

    base, length, head, tail = igbvf.RDBAL, igbvf.RDLEN, igbvf.RDH, igbvf.RDT
    control = igbvf.RXDCTL

    def __init__(self, function, memory, number, slots=16, size=2048, header=0):
        """`size` is that of a buffer, in KiB steps; `header`, if any, in steps of 64 bytes."""
        super().__init__(function, memory, number, slots)
        self.size, self.header, self.kind = size, header, ONE_BUFFER
        self.free = deque(
            (memory.take(size, size), memory.take(header, 64) if header else 0)
            for _ in range(2 * slots)
        )
        # The buffers of each slot, the next slot to take, and the next to fill.
        self.posted = [None] * slots
        self.next = self.end = 0

    def start(self, kind=ONE_BUFFER):
        """Starts with a full ring, and with other buffers than before."""
        self.kind = kind
        self.free.extend(buffers for _, buffers in self._outstanding())
        self.next = self.end = 0
        self.place()
        self.write(igbvf.SRRCTL, kind | self.size >> 10 | self.header >> 6 << 8)
        # The thresholds of igbvf.
        self.enable(16 | 8 << 8 | 1 << 16)
        self.fill()

    def _outstanding(self):
        """Yields each slot that the device has, and its buffers."""
        slot = self.next
        while slot != self.end:
            yield slot, self.posted[slot]
            slot = (slot + 1) % self.slots

    def fill(self, number=None):
        """Gives buffers to free slots, all but one or `number`, and tells the device."""
        number = self.slots if number is None else number
        while number and (self.end + 1) % self.slots != self.next:
            buffers = self.free.popleft()
            self.posted[self.end] = buffers
            self.set_descriptor(self.end, struct.pack("<QQ", *buffers))
            self.end = (self.end + 1) % self.slots
            number -= 1
        self.write(self.tail, self.end)

    def _written(self):
        """Returns the write-backs of the next packet's descriptors; none if it has no end yet."""
        found, slot = [], self.next
        while slot != self.end:
            # The device writes the status last.
            if not self._status(slot) & DD:
                break
            found.append(struct.unpack("<HHIIHH", self.descriptor(slot)))
            if found[-1][3] & EOP:
                return found
            slot = (slot + 1) % self.slots
        return []

    def _status(self, slot):
        return struct.unpack("<I", self.memory.read(self.address + slot * DESCRIPTOR + 8, 4))[0]

    def _header(self, address, info, status):
        """Returns what a descriptor's header buffer holds."""
        if self.kind != SPLIT_ALWAYS and (not info & SPLIT_DONE or status & HEADER_TOO_LONG):
            return b""
        return self.memory.read(address, min(info >> 5 & 0x3FF, self.header))

    def take(self, fill=True):
        """Returns the packets that have arrived, and posts their buffers again."""
        packets = []
        while written := self._written():
            headers, data = [], b""
            for _, info, _, status, length, vlan in written:
                packet, header = self.posted[self.next]
                headers.append(self._header(header, info, status) if self.header else b"")
                data += headers[-1] + self.memory.read(packet, length)
                self.free.append((packet, header))
                self.next = (self.next + 1) % self.slots
            tag = vlan if status & VLAN_STRIPPED else None
            packets.append(Packet(data, tag, headers[0], len(written)))
        if packets and fill:
            self.fill()
        return packets

    def wait(self, number, seconds=10):
        """Waits for packets, and returns them; there may be more."""
        packets = []

        def complete():
            packets.extend(self.take())
            return len(packets) >= number

        self.function.wait(complete, seconds, "the packets do not arrive")
        return packets

    def buffers(self):
        """Returns the pages of all buffers that the device may write now."""
        pages = set()
        for _, (packet, header) in self._outstanding():
            pages.update(pages_of(packet, self.size), pages_of(header, self.header))
        return pages


class TransmitRing(Ring):
    """A transmit ring, with a buffer for each slot."""

    base, length, head, tail = igbvf.TDBAL, igbvf.TDLEN, igbvf.TDH, igbvf.TDT
    control = igbvf.TXDCTL

    def __init__(self, function, memory, number, slots=16, size=2048):
        super().__init__(function, memory, number, slots)
        self.buffers = [memory.take(size, size) for _ in range(slots)]
        # A word for the head, if the device writes that instead of descriptors.
        self.word = memory.take(4)
        self.next = 0
        self.sent = []

    def start(self, head_write_back=False):
        """Starts with an empty ring."""
        self.next, self.sent = 0, []
        self.place()
        self.write(igbvf.TDWBAL, self.word | 1 if head_write_back else 0)
        self.write(igbvf.TDWBAH, self.word >> 32 if head_write_back else 0)
        # The thresholds of igbvf.
        self.enable(8 | 1 << 8 | 1 << 16)

    def _put(self, *descriptor):
        self.set_descriptor(self.next, struct.pack("<QII", *descriptor))
        self.next = (self.next + 1) % self.slots

    def queue(self, frame, pieces=1, vlan=None):
        """Puts a frame into the ring, in pieces of a descriptor each, and does not send it yet."""
        flags = DATA | EXTENDED | WITH_FCS
        if vlan is not None:
            # The length of the MAC header is that of Ethernet.
            self._put(vlan << 16 | 14 << 9, CONTEXT | EXTENDED, 0)
            flags |= WITH_VLAN
        size = -(-len(frame) // pieces)
        for at in range(0, len(frame), size):
            piece = frame[at : at + size]
            end = LAST | REPORT if at + size >= len(frame) else 0
            self.memory.write(self.buffers[self.next], piece)
            self.sent.append((self.next, bool(end)))
            self._put(self.buffers[self.next], flags | end | len(piece), len(frame) << 14)

    def send(self):
        """Tells the device of all that is in the ring."""
        self.write(self.tail, self.next)

    def is_done(self):
        """Returns whether the device has reported every frame."""
        return all(
            struct.unpack("<QII", self.descriptor(slot))[2] & DD for slot, end in self.sent if end
        )

    def finish(self, seconds=10):
        """Waits until every frame is reported."""
        self.function.wait(self.is_done, seconds, "a frame is not sent")
        self.sent = []

    def written_head(self):
        return struct.unpack("<I", self.memory.read(self.word, 4))[0]
