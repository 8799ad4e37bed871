# SPDX-License-Identifier: GPL-2.0-only
"""The 82576's virtual function as its guest sees it: registers, mailbox, interrupts.

Names and offsets are those of the data sheet (82576EB, section 8.26) and of Linux's igbvf. Queue 1
has its registers QUEUE bytes after those of queue 0.
"""

import struct
import time

from lib.patience import SLOWNESS
from lib.vfio import BAR0_REGION, DEVICE_SET_IRQS, MSIX

CTRL, STATUS = 0x0000, 0x0008
VMBMEM, V2PMAILBOX = 0x0800, 0x0C40
PSRTYPE = 0x0F0C
VFGPRC, VFGPTC, VFGORC, VFGOTC, VFMPRC = 0x0F10, 0x0F14, 0x0F18, 0x0F34, 0x0F3C
EICS, EIMS, EIMC, EIAC, EIAM, EICR = 0x1520, 0x1524, 0x1528, 0x152C, 0x1530, 0x1580
EITR, IVAR0, IVAR_MISC = 0x1680, 0x1700, 0x1740
RDBAL, RDBAH, RDLEN, SRRCTL, RXCTL = 0x2800, 0x2804, 0x2808, 0x280C, 0x2814
RDH, RDT, RXDCTL = 0x2810, 0x2818, 0x2828
TDBAL, TDBAH, TDLEN, TXCTL = 0x3800, 0x3804, 0x3808, 0x3814
TDH, TDT, TXDCTL, TDWBAL, TDWBAH = 0x3810, 0x3818, 0x3828, 0x3838, 0x383C
QUEUE, QUEUES = 0x100, 2

# Packets and bytes, received and sent, and multicasts received. VFGORC and VFGOTC count a frame
# with its FCS.
STATISTICS = (VFGPRC, VFGPTC, VFGORC, VFGOTC, VFMPRC)
FCS = 4

CTRL_RST = 1 << 26
STATUS_LU = 2
QUEUE_ENABLE = 1 << 25
IVAR_VALID = 0x80
VECTORS, ALL_VECTORS = 3, 7

# V2PMAILBOX. A read clears PFSTS, PFACK and RSTD.
REQ, ACK, VFU, PFU, PFSTS, PFACK, RSTI, RSTD = (1 << bit for bit in range(8))
READ_CLEARS = PFSTS | PFACK | RSTD
MAILBOX_WORDS = 16

# The first word of a message: a type, what it is about (from bit 16 on), and the PF's verdict.
RESET, SET_MAC, SET_MULTICAST, SET_VLAN, SET_LPE, SET_PROMISC = range(1, 7)
MAC_FILTER_CLR, MAC_FILTER_ADD, PROMISC_MULTICAST = 1 << 16, 2 << 16, 2 << 16
CONTROL = 0x100
ACKED, NACKED, CTS = 1 << 31, 1 << 30, 1 << 29


def mac_words(mac):
    """Returns a MAC address as the two words of a message that it fills."""
    return struct.unpack("<II", mac + bytes(2))


def multicast_hash(mac):
    """Returns the 12 bits of a multicast address by which the filter knows it."""
    return (mac[4] >> 4 | mac[5] << 4) & 0xFFF


class Igbvf:
    """Registers and mailbox through an open VFIO device."""

    def __init__(self, device):
        self.device = device
        # The bits that reads of V2PMAILBOX have cleared.
        self.seen = 0

    def read(self, register):
        return struct.unpack("<I", self.device.read(BAR0_REGION, register, 4))[0]

    def write(self, register, value):
        assert self.device.write(BAR0_REGION, register, struct.pack("<I", value)) == 4

    def wait(self, condition, seconds=10, what="the device is not ready in time"):
        """Waits until a condition holds, and returns its value."""
        end = time.monotonic() + seconds * SLOWNESS
        while not (value := condition()):
            assert time.monotonic() < end, what
            time.sleep(0.002)
        return value

    def link_is_up(self):
        return bool(self.read(STATUS) & STATUS_LU)

    def statistics(self):
        return {register: self.read(register) for register in STATISTICS}

    # The mailbox

    def mailbox(self):
        """Returns the bits of V2PMAILBOX, with those that earlier reads have cleared."""
        value = self.read(V2PMAILBOX) | self.seen
        self.seen = value & READ_CLEARS
        return value

    def take(self, bit):
        """Returns whether a bit that a read clears is set, and forgets it."""
        found = self.mailbox() & bit
        self.seen &= ~bit
        return bool(found)

    def _lock(self):
        def locked():
            self.write(V2PMAILBOX, VFU)
            return self.mailbox() & VFU

        self.wait(locked, what="the PF keeps the mailbox")

    def post(self, *words):
        """Sends a message, and waits until the PF has taken it."""
        self._lock()
        # The lock hides what came before.
        self.mailbox()
        self.seen &= ~(PFSTS | PFACK)
        for at, word in enumerate(words):
            self.write(VMBMEM + 4 * at, word)
        self.write(V2PMAILBOX, REQ)
        self.wait(lambda: self.take(PFACK), what="the PF does not take the message")

    def message(self, words=1, seconds=10):
        """Waits for a message of the PF, and returns its first words."""
        self.wait(lambda: self.take(PFSTS), seconds, "the PF sends nothing")
        self._lock()
        message = [self.read(VMBMEM + 4 * at) for at in range(words)]
        self.write(V2PMAILBOX, ACK)
        return message

    def ask(self, *words, answer=1):
        """Sends a request; returns the first words of the PF's answer, leaving out pings."""
        self.post(*words)
        while True:
            found = self.message(answer)
            if found[0] & 0xFFFF == words[0] & 0xFFFF and found[0] & (ACKED | NACKED):
                return found

    def accepts(self, *words):
        """Sends a request; returns whether the PF accepts it."""
        return bool(self.ask(*words)[0] & ACKED)

    def set_mac(self, mac):
        return self.accepts(SET_MAC, *mac_words(mac))

    def set_multicast(self, *macs):
        """Sets all multicast addresses, 30 at most; returns whether the PF accepts them."""
        hashes = struct.pack("<30H", *map(multicast_hash, macs), *[0] * (30 - len(macs)))
        return self.accepts(SET_MULTICAST | len(macs) << 16, *struct.unpack("<15I", hashes))

    def set_vlan(self, vlan, on=True):
        return self.accepts(SET_VLAN | on << 16, vlan)

    def set_max_frame(self, size):
        """Sets the largest frame that is received, in bytes with its FCS."""
        return self.accepts(SET_LPE, size)

    # Reset

    def reset(self):
        """Resets the function as igbvf does; returns the MAC that the PF gives it, or None."""
        self.write(CTRL, CTRL_RST)
        self.seen = 0
        self.wait(lambda: not self.read(V2PMAILBOX) & (RSTI | RSTD), what="the PF is in reset")
        answer = self.ask(RESET, answer=3)
        if answer[0] & NACKED:
            return None
        return struct.pack("<II", *answer[1:])[:6]

    # Interrupts

    def assign_vectors(self, receive, transmit, other):
        """Assigns vectors to the causes; `receive` and `transmit` are those of both queues."""
        entries = (receive[0], transmit[0], receive[1], transmit[1])
        self.write(IVAR0, int.from_bytes(bytes(IVAR_VALID | vector for vector in entries), "little"))
        self.write(IVAR_MISC, IVAR_VALID | other)

    def enable_interrupts(self, vectors=ALL_VECTORS):
        """Enables vectors, a bit each; they clear and mask themselves when they are raised."""
        self.write(EIAC, vectors)
        self.write(EIAM, vectors)
        self.write(EIMS, vectors)

    def signal(self, *events):
        """Has vector i signal events[i]; without events, MSI-X is disabled."""
        # VFIO_IRQ_SET_DATA_EVENTFD or _NONE | VFIO_IRQ_SET_ACTION_TRIGGER
        kind, fds = (0x24, [event.fd for event in events]) if events else (0x21, [])
        self.device.ioctl(
            DEVICE_SET_IRQS,
            struct.pack(f"IIIII{len(fds)}i", 20 + 4 * len(fds), kind, MSIX, 0, len(fds), *fds),
        )
