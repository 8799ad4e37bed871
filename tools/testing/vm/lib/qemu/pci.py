# SPDX-License-Identifier: GPL-2.0-only
"""PCI as a guest of QEMU's pc sees it: configuration space, and registers behind a BAR."""

from lib.vfio import BAR0_REGION, COMMAND_MASTER, COMMAND_MEMORY

CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
COMMAND, STATUS_AND_COMMAND, BAR0, CAPABILITIES = 4, 4, 0x10, 0x34
BUS_NUMBERS, MEMORY_WINDOW = 0x18, 0x20
COMMAND_INTX_DISABLE = 0x400
SLOTS = 32
CAPABILITY_MSI, MSI_ENABLE, MSI_64 = 5, 1 << 16, 1 << 23

# The guest puts the BARs, 1 MiB each, above its memory.
BAR_BASE, BAR_SIZE = 0xE0000000, 1 << 20


class Function:
    """A PCI function on the root bus, through the I/O ports of the guest.

    Slots from 32 on are on the bus below, those from 64 on are on the next.
    """

    def __init__(self, qtest, slot):
        self.qtest = qtest
        self.slot = slot
        self.bar = BAR_BASE + slot * BAR_SIZE

    def _select(self, register):
        self.qtest.io_write32(CONFIG_ADDRESS, 1 << 31 | self.slot << 11 | register)

    def config_read(self, register):
        self._select(register)
        return self.qtest.io_read32(CONFIG_DATA)

    def config_write(self, register, value):
        self._select(register)
        self.qtest.io_write32(CONFIG_DATA, value)

    def command(self, set_=0, clear=0):
        """Changes bits of the command register; returns its value."""
        value = self.config_read(COMMAND) & 0xFFFF
        if set_ or clear:
            value = (value | set_) & ~clear
            self.config_write(COMMAND, value)
        return value

    def enable(self):
        """Does what firmware does: assigns the BAR and enables the function."""
        self.config_write(BAR0, self.bar)
        self.command(COMMAND_MEMORY | COMMAND_MASTER)

    def capability(self, kind):
        at = self.config_read(CAPABILITIES) & 0xFC
        while at:
            head = self.config_read(at)
            if head & 0xFF == kind:
                return at
            at = head >> 8 & 0xFC
        raise AssertionError(f"no capability {kind:#x}")

    def enable_msi(self, address, data):
        """Makes interrupts write 32 bits of data to an address of guest memory."""
        at = self.capability(CAPABILITY_MSI)
        head = self.config_read(at)
        self.config_write(at + 4, address)
        if head & MSI_64:
            self.config_write(at + 8, 0)
            self.config_write(at + 12, data)
        else:
            self.config_write(at + 8, data)
        self.command(COMMAND_INTX_DISABLE)
        self.config_write(at, head | MSI_ENABLE)

    # The interface that a device's registers need: that of lib.vfio.Device.

    def read(self, region, offset, size):
        assert region == BAR0_REGION
        read = {4: self.qtest.read32, 8: self.qtest.read64}[size]
        return read(self.bar + offset).to_bytes(size, "little")

    def write(self, region, offset, data):
        assert region == BAR0_REGION
        write = {4: self.qtest.write32, 8: self.qtest.write64}[len(data)]
        write(self.bar + offset, int.from_bytes(data, "little"))
        return len(data)


def enable_port(qtest, slot):
    """Does what firmware does for a PCI Express port on the root bus, with bus 1 below."""
    port = Function(qtest, slot)
    port.config_write(BUS_NUMBERS, 0x010100)
    first = Function(qtest, SLOTS).bar
    port.config_write(MEMORY_WINDOW, first >> 16 | first)
    port.command(COMMAND_MEMORY | COMMAND_MASTER)


def route_interrupts(qtest, line):
    """Routes all four INTx of the bus to one line, by PIIX3's PIRQ routing registers."""
    Function(qtest, 1).config_write(0x60, line * 0x01010101)
