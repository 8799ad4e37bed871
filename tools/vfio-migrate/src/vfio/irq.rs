// SPDX-License-Identifier: GPL-2.0-only

//! A device's interrupt, delivered to an eventfd.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use clap::ValueEnum;
use rustix::io::Errno;
use serde::Serialize;
use vfio_bindings::bindings::vfio as uapi;

use super::Device;
use crate::error::{Error, Result};
use crate::sys::{self, Request};

/// How a device interrupts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IrqKind {
    /// By a message, the kind that drivers prefer.
    Msi,
    /// By the interrupt line.
    Intx,
}

impl IrqKind {
    fn index(self) -> u32 {
        match self {
            Self::Msi => uapi::VFIO_PCI_MSI_IRQ_INDEX,
            Self::Intx => uapi::VFIO_PCI_INTX_IRQ_INDEX,
        }
    }
}

/// An interrupt that is set up; dropping it turns it off.
#[derive(Debug)]
pub struct Interrupt {
    device: Device,
    index: u32,
    event: OwnedFd,
}

impl Interrupt {
    /// Sets a device's interrupt up.
    pub fn new(device: &Device, kind: IrqKind) -> Result<Self> {
        let index = kind.index();
        if !device
            .interrupts()
            .iter()
            .any(|irq| irq.index == index && irq.count > 0)
        {
            return Err(Error::WrongDevice(format!(
                "{} has no interrupt of the kind {kind:?}",
                device.address()
            )));
        }
        Self::of_index(device, index)
    }

    /// Sets the first interrupt of an index up, which the device has.
    pub fn of_index(device: &Device, index: u32) -> Result<Self> {
        let event = sys::eventfd().map_err(Error::step("making an eventfd"))?;
        let flags = uapi::VFIO_IRQ_SET_DATA_EVENTFD | uapi::VFIO_IRQ_SET_ACTION_TRIGGER;
        // CAST: file descriptors are not negative; the kernel reads an `int` back.
        set(device, flags, index, &[event.as_raw_fd() as u32])?;
        Ok(Self {
            device: device.clone(),
            index,
            event,
        })
    }

    /// Waits for interrupts and returns how many came, 0 when none did in time.
    ///
    /// A line interrupt is masked when it is delivered, and stays so.
    pub fn wait(&self, timeout: Duration) -> Result<u64> {
        sys::eventfd_wait(self.event.as_fd(), timeout)
            .map_err(Error::step("waiting for an interrupt"))
    }
}

impl Interrupt {
    /// Turns the interrupt off.
    pub fn turn_off(&self) -> Result<(), Errno> {
        let flags = uapi::VFIO_IRQ_SET_DATA_NONE | uapi::VFIO_IRQ_SET_ACTION_TRIGGER;
        let mut request = encode(flags, self.index, 0, &[]);
        sys::ioctl_bytes(self.device.fd(), Request::DeviceSetIrqs, &mut request)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // Closing the device turns the interrupt off as well.
        let _ = self.turn_off();
    }
}

fn set(device: &Device, flags: u32, index: u32, data: &[u32]) -> Result<()> {
    let mut request = encode(flags, index, 1, data);
    sys::ioctl_bytes(device.fd(), Request::DeviceSetIrqs, &mut request)
        .map_err(Error::step("setting the interrupt up"))
}

/// A `struct vfio_irq_set` with its data.
fn encode(flags: u32, index: u32, count: u32, data: &[u32]) -> Vec<u8> {
    // CAST: one word of data at most.
    let length = (size_of::<uapi::vfio_irq_set>() + 4 * data.len()) as u32;
    let head = [length, flags, index, 0, count];
    head.iter()
        .chain(data)
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_request() {
        let bytes = encode(0x24, 1, 1, &[5]);
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [24, 0x24, 1, 0, 1, 5]);
    }
}
