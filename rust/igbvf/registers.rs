// SPDX-License-Identifier: GPL-2.0-only

//! Registers of the virtual function, in BAR 0, with the names of the data sheet.
//!
//! Specification: Intel 82576EB Gigabit Ethernet Controller Datasheet, "Virtual Function Device".
//! All registers are 32 bits wide. Receive and transmit queue 1 lie 0x100 bytes after queue 0.

use kernel::io::register;
use migration::device::Access;

/// The BAR that holds the registers.
pub(crate) const BAR: u8 = 0;

/// Bytes from the registers of a queue to those of the next.
pub(crate) const QUEUE: usize = 0x100;

register! {
    /// Device control.
    pub(crate) CTRL(u32) @ 0x0000 {
        /// Reset of the function: queues are disabled, and the PF is told. Clears itself.
        26:26 rst => bool;
    }

    /// Device status, read-only: the link, and what the host has set up.
    pub(crate) STATUS(u32) @ 0x0008 {}

    /// Mailbox memory.
    pub(crate) VMBMEM(u32)[16] @ 0x0800 {}

    /// Mailbox control. A read clears `pfsts`, `pfack` and `rstd`.
    pub(crate) V2PMAILBOX(u32) @ 0x0c40 {
        /// The PF has completed a reset.
        7:7 rstd => bool;
        /// The PF is in reset.
        6:6 rsti => bool;
        /// The PF has read the VF's message.
        5:5 pfack => bool;
        /// The PF has written a message.
        4:4 pfsts => bool;
        /// The PF owns the memory.
        3:3 pfu => bool;
        /// The VF owns the memory. Not taken while the PF owns it.
        2:2 vfu => bool;
        /// Tells the PF that its message was read.
        1:1 ack => bool;
        /// Tells the PF that there is a message.
        0:0 req => bool;
    }

    /// Which packets have their header split off.
    pub(crate) PSRTYPE(u32) @ 0x0f0c {}

    /// Raises the interrupts written.
    pub(crate) EICS(u32) @ 0x1520 {}

    /// Enables the interrupts written. QEMU's model reads as it was last written.
    pub(crate) EIMS(u32) @ 0x1524 {}

    /// Masks the interrupts written.
    pub(crate) EIMC(u32) @ 0x1528 {}

    /// Interrupts whose cause clears when the message is sent.
    pub(crate) EIAC(u32) @ 0x152c {}

    /// Interrupts that are masked when the message is sent.
    pub(crate) EIAM(u32) @ 0x1530 {}

    /// Causes of interrupts; clears the causes written.
    pub(crate) EICR(u32) @ 0x1580 {}

    /// Least time between two interrupts of a vector.
    pub(crate) EITR(u32)[3] @ 0x1680 {}

    /// Vectors of the queues.
    pub(crate) IVAR(u32) @ 0x1700 {}

    /// Vector of the mailbox.
    pub(crate) IVAR_MISC(u32) @ 0x1740 {}

    /// Receive descriptors: base address, low part.
    pub(crate) RDBAL(u32)[2, stride = 0x100] @ 0x2800 {}

    /// Receive descriptors: base address, high part.
    pub(crate) RDBAH(u32)[2, stride = 0x100] @ 0x2804 {}

    /// Receive descriptors: bytes of the ring.
    pub(crate) RDLEN(u32)[2, stride = 0x100] @ 0x2808 {}

    /// Sizes of the receive buffers, and the type of the descriptors.
    pub(crate) SRRCTL(u32)[2, stride = 0x100] @ 0x280c {}

    /// Receive descriptors: the next one that the device uses.
    pub(crate) RDH(u32)[2, stride = 0x100] @ 0x2810 {}

    /// Control of receive DMA.
    pub(crate) RXCTL(u32)[2, stride = 0x100] @ 0x2814 {}

    /// Receive descriptors: the first one that is not the device's.
    pub(crate) RDT(u32)[2, stride = 0x100] @ 0x2818 {}

    /// Control of a receive queue.
    pub(crate) RXDCTL(u32)[2, stride = 0x100] @ 0x2828 {
        /// The queue receives; reads as clear once it has stopped.
        25:25 enable => bool;
    }

    /// Transmit descriptors: base address, low part.
    pub(crate) TDBAL(u32)[2, stride = 0x100] @ 0x3800 {}

    /// Transmit descriptors: base address, high part.
    pub(crate) TDBAH(u32)[2, stride = 0x100] @ 0x3804 {}

    /// Transmit descriptors: bytes of the ring.
    pub(crate) TDLEN(u32)[2, stride = 0x100] @ 0x3808 {}

    /// Transmit descriptors: the next one that the device uses.
    pub(crate) TDH(u32)[2, stride = 0x100] @ 0x3810 {}

    /// Control of transmit DMA.
    pub(crate) TXCTL(u32)[2, stride = 0x100] @ 0x3814 {}

    /// Transmit descriptors: the first one that is not the device's. A write begins to send.
    pub(crate) TDT(u32)[2, stride = 0x100] @ 0x3818 {}

    /// Control of a transmit queue.
    pub(crate) TXDCTL(u32)[2, stride = 0x100] @ 0x3828 {
        /// The queue sends; reads as clear once it has stopped.
        25:25 enable => bool;
    }

    /// Where the device writes the transmit head, low part.
    pub(crate) TDWBAL(u32)[2, stride = 0x100] @ 0x3838 {}

    /// Where the device writes the transmit head, high part.
    pub(crate) TDWBAH(u32)[2, stride = 0x100] @ 0x383c {}
}

/// Offsets of the statistics, in the order of [`crate::statistics`]: VFGPRC, VFGPTC, VFGORC,
/// VFGOTC, VFMPRC, VFGPRLBC, VFGPTLBC, VFGORLBC, VFGOTLBC.
///
/// Read-only counters that go on from 0 after the last value.
pub(crate) const STATISTICS: [usize; crate::statistics::COUNT] = [
    0x0f10, 0x0f14, 0x0f18, 0x0f34, 0x0f3c, 0x0f40, 0x0f44, 0x0f48, 0x0f50,
];

/// Returns the offset of a guest's access, to compare with that of a register.
pub(crate) fn offset_of(access: Access) -> usize {
    // CAST: The same size, and offsets lie within the BAR.
    access.offset as usize
}

impl V2PMAILBOX {
    /// Returns the bits that a read clears.
    pub(crate) fn sticky(self) -> u32 {
        self.into_raw() & crate::mailbox::STICKY
    }
}
