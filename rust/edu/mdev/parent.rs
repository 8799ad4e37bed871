// SPDX-License-Identifier: GPL-2.0-only

//! The physical device as a parent of virtual ones.

use kernel::{
    device::Core,
    pci,
    prelude::*,
    sync::Arc, //
};
use migration::image::Identity;
use vfio::{
    mdev::Function,
    physical::DmaMemory, //
};

use super::{
    hardware::{
        Hardware,
        REGISTERS_SIZE, //
    },
    instances::Instances,
    mediator::Mediator, //
};
use crate::{
    image,
    registers::{
        BAR,
        BUFFER_SIZE, //
    }, //
};

/// Size of a virtual device's BAR 0, that of the physical one.
const BAR_SIZE: u32 = 1 << 20;

/// What the virtual devices of a physical one share.
pub(crate) struct EduParent {
    pub(super) mediator: Arc<Mediator>,
    pub(super) instances: Arc<Instances>,
    function: Function,
}

impl EduParent {
    /// Makes a physical device a parent. It has `address_bits` bits of address for DMA, 13 to 64.
    ///
    /// `ENODEV` if it does not answer as an edu, `EBUSY` if another driver has its BAR, `ETIMEDOUT`
    /// if its work does not end, `ENOMEM` without memory.
    pub(crate) fn new(pdev: &pci::Device<Core<'_>>, address_bits: u32) -> Result<Self> {
        let memory = DmaMemory::new(pdev, address_bits, BUFFER_SIZE)?;
        let bar = pdev.iomap_region_sized::<REGISTERS_SIZE>(BAR.into(), c"edu_mdev")?;
        let mediator = Mediator::new(Hardware::new(bar)?, memory)?;
        Ok(Self {
            mediator,
            instances: Instances::new()?,
            function: Function::like(pdev, BAR_SIZE),
        })
    }

    /// Returns the PCI function that a virtual device shows: that of the physical one.
    pub(crate) fn function(&self) -> Function {
        self.function
    }

    /// Returns how many more virtual devices of a type there can be.
    pub(crate) fn available(&self, type_: usize) -> u32 {
        self.instances.available(type_)
    }

    /// Returns what the physical device's driver keeps, to be dropped after all virtual devices.
    pub(crate) fn control(&self) -> Control {
        Control(self.mediator.clone())
    }

    /// Returns the identity in a virtual device's images: that of the physical device.
    pub(super) fn identity(&self) -> Identity {
        self.function
            .identity(image::STATE_MAJOR, image::STATE_MINOR)
    }
}

/// The mediator as the physical device's driver controls it. Dropping this shuts it down.
pub(crate) struct Control(Arc<Mediator>);

impl Control {
    /// Shuts the mediator down, when the driver is unbound and no virtual device is left. From then
    /// on the physical device reaches no memory.
    pub(crate) fn shut_down(&self) {
        self.0.shut_down();
    }

    /// Prepares for a reset of the physical device by others.
    pub(crate) fn reset_prepare(&self) {
        self.0.suspend();
    }

    /// Goes on after a reset of the physical device by others.
    pub(crate) fn reset_done(&self) {
        self.0.resume();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shut_down();
    }
}
