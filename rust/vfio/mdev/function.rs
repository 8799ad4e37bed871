// SPDX-License-Identifier: GPL-2.0-only

//! The PCI function that a virtual device is.

use kernel::pci;
use migration::image::Identity;

/// What identifies a PCI function, and the size of its BAR.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Function {
    /// Vendor.
    pub vendor: u16,
    /// Device number.
    pub device: u16,
    /// Subsystem's vendor.
    pub subsystem_vendor: u16,
    /// Subsystem's device number.
    pub subsystem_device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code: base class, subclass and programming interface, 24 bits.
    pub class: u32,
    /// Size of BAR 0 in bytes, a power of two, 16 or more.
    pub bar_size: u32,
}

impl Function {
    /// Returns a function with the numbers of a physical one.
    pub fn like(pdev: &pci::Device, bar_size: u32) -> Self {
        Self {
            vendor: pdev.vendor_id().as_raw(),
            device: pdev.device_id(),
            subsystem_vendor: pdev.subsystem_vendor_id(),
            subsystem_device: pdev.subsystem_device_id(),
            revision: pdev.revision_id(),
            class: pdev.pci_class().as_raw(),
            bar_size,
        }
    }

    /// Returns the identity in the function's images: its own numbers, and the version of the
    /// driver's sections.
    pub fn identity(&self, state_major: u16, state_minor: u16) -> Identity {
        Identity {
            vendor: self.vendor,
            device: self.device,
            subsystem_vendor: self.subsystem_vendor,
            subsystem_device: self.subsystem_device,
            revision: self.revision,
            state_major,
            state_minor,
        }
    }
}
