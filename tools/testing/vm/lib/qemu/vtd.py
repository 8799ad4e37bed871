# SPDX-License-Identifier: GPL-2.0-only
"""The Intel IOMMU of a guest of QEMU, driven by the test."""

from lib.qemu.pci import SLOTS

BASE = 0xFED90000
GLOBAL_COMMAND, GLOBAL_STATUS, ROOT_TABLE = BASE + 0x18, BASE + 0x1C, BASE + 0x20
CONTEXT_COMMAND, IOTLB = BASE + 0x28, BASE + 0xF8
TRANSLATION, SET_ROOT_TABLE = 1 << 31, 1 << 30
INVALIDATE, ALL_CONTEXTS, ALL_ENTRIES = 1 << 63, 1 << 61, 1 << 60

PRESENT, READ_WRITE, LARGE = 1, 3, 1 << 7
LARGE_PAGE = 2 << 20
# Three levels of tables, for 39 bits, and the number of the domain.
WIDTH, DOMAIN = 1, 1 << 8

#: QEMU's argument for the IOMMU.
OPTION = "intel-iommu,caching-mode=on,intremap=off"


class GuestIommu:
    """An IOMMU with one domain; the four pages of its tables are at `at`."""

    def __init__(self, qtest, at=0x1000000):
        self.qtest = qtest
        self.root, self.contexts, self.top, self.middle = (at + n * 0x1000 for n in range(4))
        qtest.memset(at, 0x4000, 0)
        # All addresses are in the first GiB.
        qtest.write64(self.top, self.middle | READ_WRITE)

    def enable(self):
        """Switches translation on; nothing is mapped yet."""
        self.qtest.write64(ROOT_TABLE, self.root)
        self._command(SET_ROOT_TABLE)
        self._invalidate()
        self._command(TRANSLATION)

    def add(self, slot):
        """Puts a function into the domain; slots are those of pci.Function."""
        self.qtest.write64(self.root + slot // SLOTS * 16, self.contexts | PRESENT)
        entry = self.contexts + slot % SLOTS * 8 * 16
        self.qtest.write64(entry + 8, WIDTH | DOMAIN)
        self.qtest.write64(entry, self.top | PRESENT)
        self._invalidate()

    def map(self, iova, address, size):
        """Maps memory of the guest, in pages of 2 MiB."""
        for offset in range(0, size, LARGE_PAGE):
            entry = self.middle + (iova + offset) // LARGE_PAGE * 8
            self.qtest.write64(entry, address + offset | LARGE | READ_WRITE)
        self._invalidate()

    def _command(self, bit):
        self.qtest.write32(GLOBAL_COMMAND, bit)
        assert self.qtest.read32(GLOBAL_STATUS) & bit

    def _invalidate(self):
        for register, what in ((CONTEXT_COMMAND, ALL_CONTEXTS), (IOTLB, ALL_ENTRIES)):
            self.qtest.write64(register, INVALIDATE | what)
            assert not self.qtest.read64(register) & INVALIDATE
