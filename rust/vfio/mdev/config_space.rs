// SPDX-License-Identifier: GPL-2.0-only

//! The emulated PCI configuration space of a virtual device.
//!
//! A conventional function with one 32-bit memory BAR, INTx and an MSI capability of one vector
//! with 64-bit addresses. What the guest writes to the capability is kept. Interrupts go where
//! `VFIO_DEVICE_SET_IRQS` says, as they do in vfio-pci.

use super::function::Function;

/// Bytes of a conventional configuration space.
pub(super) const SIZE: usize = 256;

/// Offset of the command register.
const COMMAND: usize = 0x04;

/// [`COMMAND`]: the function answers to memory accesses.
pub(super) const COMMAND_MEMORY: u16 = 1 << 1;

/// [`COMMAND`]: the function may start DMA.
pub(super) const COMMAND_MASTER: u16 = 1 << 2;

/// [`COMMAND`]: the function does not assert INTx.
pub(super) const COMMAND_INTX_DISABLE: u16 = 1 << 10;

/// [`COMMAND`]: the bits that can be written. Beside the above these are parity error response and
/// SERR#, which do nothing.
const COMMAND_WRITABLE: u16 =
    COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_DISABLE | (1 << 6) | (1 << 8);

/// Offset of the status register.
const STATUS: usize = 0x06;

/// [`STATUS`]: INTx is asserted, even if the function must not signal it.
const STATUS_INTERRUPT: u8 = 1 << 3;

/// [`STATUS`]: the function has a list of capabilities.
const STATUS_CAPABILITIES: u16 = 1 << 4;

/// Offset of the revision, with the class code after it.
const REVISION: usize = 0x08;

/// Offset of BAR 0.
const BAR0: usize = 0x10;

/// Offset of the subsystem's vendor, with its device number after it.
const SUBSYSTEM: usize = 0x2c;

/// Offset of the pointer to the first capability.
const CAPABILITIES: usize = 0x34;

/// Offset of the interrupt line, a scratch register of the guest, with the pin after it.
const INTERRUPT_LINE: usize = 0x3c;

/// Offset of the MSI capability.
const MSI: usize = 0x40;

/// Identifier of the MSI capability.
const MSI_ID: u8 = 0x05;

/// MSI control: 64-bit addresses.
const MSI_64BIT: u16 = 1 << 7;

/// MSI control: the bits that can be written, enable and the number of vectors, which is one.
const MSI_WRITABLE: u16 = (1 << 0) | (7 << 4);

/// The configuration space of one virtual device.
pub(super) struct ConfigSpace {
    /// The bytes as the guest reads them.
    bytes: [u8; SIZE],
    /// Bits that can be written.
    writable: [u8; SIZE],
}

impl ConfigSpace {
    /// Returns the space of a function after a reset.
    pub(super) fn new(function: &Function) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
        };
        space.set(0, &function.vendor.to_le_bytes(), &[]);
        space.set(2, &function.device.to_le_bytes(), &[]);
        space.set(COMMAND, &[0, 0], &COMMAND_WRITABLE.to_le_bytes());
        space.set(STATUS, &STATUS_CAPABILITIES.to_le_bytes(), &[]);
        let class = (function.class << 8) | u32::from(function.revision);
        space.set(REVISION, &class.to_le_bytes(), &[]);
        space.set(0x0c, &[0], &[0xff]);
        let mask = !function.bar_size.wrapping_sub(1);
        space.set(BAR0, &[0; 4], &mask.to_le_bytes());
        space.set(SUBSYSTEM, &function.subsystem_vendor.to_le_bytes(), &[]);
        space.set(SUBSYSTEM + 2, &function.subsystem_device.to_le_bytes(), &[]);
        // CAST: A small constant.
        space.set(CAPABILITIES, &[MSI as u8], &[]);
        space.set(INTERRUPT_LINE, &[0, 1], &[0xff, 0]);
        space.set(MSI, &[MSI_ID, 0], &[]);
        space.set(
            MSI + 2,
            &MSI_64BIT.to_le_bytes(),
            &MSI_WRITABLE.to_le_bytes(),
        );
        space.set(
            MSI + 4,
            &[0; 10],
            &[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        );
        space
    }

    /// Defines neighbouring bytes: what they read, and which bits can be written.
    fn set(&mut self, offset: usize, bytes: &[u8], writable: &[u8]) {
        let places = self.bytes.iter_mut().skip(offset);
        places.zip(bytes).for_each(|(place, byte)| *place = *byte);
        let places = self.writable.iter_mut().skip(offset);
        places
            .zip(writable)
            .for_each(|(place, bits)| *place = *bits);
    }

    /// Reads from `offset` on; `asserted` is the state of INTx.
    ///
    /// Bytes beyond the end read as 0.
    pub(super) fn read(&self, offset: usize, asserted: bool, out: &mut [u8]) {
        for (at, byte) in (offset..).zip(out) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
            if at == STATUS && asserted {
                *byte |= STATUS_INTERRUPT;
            }
        }
    }

    /// Writes from `offset` on, only the bits that can be written.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let places = self.bytes.iter_mut().zip(&self.writable).skip(offset);
        for ((byte, writable), new) in places.zip(data) {
            *byte = (*byte & !writable) | (new & writable);
        }
    }

    /// Returns the command register.
    pub(super) fn command(&self) -> u16 {
        let byte = |at| self.bytes.get(at).copied().unwrap_or(0);
        u16::from_le_bytes([byte(COMMAND), byte(COMMAND + 1)])
    }
}

#[kernel::macros::kunit_tests(rvfio_config_space)]
mod tests {
    use super::*;

    /// Returns a space whose values are all different.
    fn space() -> ConfigSpace {
        ConfigSpace::new(&Function {
            vendor: 0x1122,
            device: 0x3344,
            subsystem_vendor: 0x5566,
            subsystem_device: 0x7788,
            revision: 0x99,
            class: 0xaa_bbcc,
            bar_size: 0x1000,
        })
    }

    fn bytes<const N: usize>(space: &ConfigSpace, offset: usize) -> [u8; N] {
        let mut bytes = [0xff; N];
        space.read(offset, false, &mut bytes);
        bytes
    }

    #[test]
    fn nothing_lies_beyond_the_end() {
        let mut space = space();
        space.write(SIZE - 2, &[0xff; 8]);
        assert_eq!(bytes::<8>(&space, SIZE - 2), [0; 8]);
        space.write(SIZE, &[0xff; 8]);
        assert_eq!(bytes::<8>(&space, SIZE), [0; 8]);
        assert_eq!(bytes::<4>(&space, 1 << 40), [0; 4]);
    }

    #[test]
    fn only_what_is_writable_changes() {
        let mut written = space();
        written.write(0, &[0xff; SIZE]);
        let fresh = space();
        for at in 0..SIZE {
            let kept = !written.writable[at];
            assert_eq!(written.bytes[at] & kept, fresh.bytes[at] & kept);
            assert_eq!(written.bytes[at] | kept, 0xff);
        }
        assert_eq!(written.command(), COMMAND_WRITABLE);
        written.write(0, &[0; SIZE]);
        assert!(written.bytes == fresh.bytes);
    }

    #[test]
    fn a_bar_tells_its_size() {
        let mut space = space();
        space.write(BAR0, &[0xff; 4]);
        assert_eq!(u32::from_le_bytes(bytes(&space, BAR0)), !0xfff);
    }

    #[test]
    fn an_interrupt_shows_in_one_bit() {
        let space = space();
        let (quiet, mut asserted) = (bytes::<SIZE>(&space, 0), [0; SIZE]);
        space.read(0, true, &mut asserted);
        for at in 0..SIZE {
            let bit = if at == STATUS { STATUS_INTERRUPT } else { 0 };
            assert_eq!(quiet[at] ^ asserted[at], bit);
        }
    }
}
