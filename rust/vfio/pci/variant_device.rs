// SPDX-License-Identifier: GPL-2.0-only

//! A variant device: a device that the vfio-pci core manages.

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    prelude::*, //
};
use migration::{
    device::Device,
    engine::{
        Cause,
        HardwareReset, //
    }, //
};

use super::{
    CoreDevice,
    Operations, //
};
use crate::{
    bindings,
    device::{
        vfio_ioctl,
        Call,
        Flavour,
        Host,
        VfioDevice, //
    }, //
};

/// `VFIO_DEVICE_IOEVENTFD` of the uAPI.
const VFIO_DEVICE_IOEVENTFD: u32 = vfio_ioctl(16);

/// The flavour of vfio-pci variant drivers.
pub(super) struct Pci<T>(PhantomData<T>);

/// A device of a variant driver.
///
/// Its host was initialised by `vfio_pci_core_init_dev()`.
pub(super) type VariantDevice<T> = VfioDevice<Pci<T>>;

/// Who answers a call.
pub(super) enum Way {
    /// vfio-pci.
    Core,
    /// The driver; the number of the BAR.
    Driver(u8),
    /// Both, or one of them more than once; the number of the BAR.
    Split(u8),
}

impl<T: Operations> Flavour for Pci<T> {
    type Host = CoreDevice;
    type Device = T::Device;
    type OwnerModule = T::OwnerModule;

    const OPS: bindings::vfio_device_ops = Self::OPERATIONS;
    const IS_RESET_BY_OTHERS: bool = true;

    unsafe fn init(vdev: *mut bindings::vfio_device) -> Result {
        // SAFETY: The VFIO core calls `init` once with a zeroed structure.
        to_result(unsafe { bindings::vfio_pci_core_init_dev(vdev) })?;
        // SAFETY: The structure was just initialised, and `VfioDevice`, which the VFIO core has
        // allocated full of zeroes, begins with the host.
        unsafe { CoreDevice::init(vdev.cast()) };
        Ok(())
    }

    unsafe fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { bindings::vfio_pci_core_release_dev(vdev) };
    }

    unsafe fn new_device(vdev: *mut bindings::vfio_device) -> Result<T::Device> {
        // SAFETY: `VfioDevice` begins with the host, which was just initialised.
        T::new(unsafe { CoreDevice::from_raw(vdev.cast()) })
    }

    fn reset_hardware(core: &CoreDevice, cause: Cause) -> HardwareReset {
        core.reset_before_driver(T::RESET, cause)
    }

    fn open(device: &VariantDevice<T>) -> Result {
        let raw = device.host().as_raw();
        // SAFETY: By the type invariant; the VFIO core holds the device set's lock.
        to_result(unsafe { bindings::vfio_pci_core_enable(raw) })?;
        // If the device is still cut off, its domain blocks, and the scrub fails.
        device.host().attachment().lock().is_cut_off = false;
        let result = device.set_up();
        if result.is_err() {
            // SAFETY: Undoes `vfio_pci_core_enable()`.
            unsafe { bindings::vfio_pci_core_disable(raw) };
            device.section().free();
        }
        result
    }

    fn close(device: &VariantDevice<T>) {
        // The user may have left the device in a low-power state.
        let awake = device.host().wake();
        device.end_use();
        drop(awake);
        // SAFETY: By the type invariant; the VFIO core calls this once for each `open`.
        unsafe { bindings::vfio_pci_core_close_device(device.host().vdev()) };
        device.section().free();
    }

    #[inline]
    fn read(device: &VariantDevice<T>, call: Call) -> isize {
        match device.way(&call) {
            Way::Driver(bar) if !VariantDevice::<T>::reads_through(bar, &call) => {
                device.trapped_read(bar, call)
            }
            Way::Split(bar) => device.split(bar, call, Self::read),
            _ => {
                let (buf, count, ppos) = call.into_raw();
                // SAFETY: The device is open, and the arguments are those of a read operation.
                unsafe { bindings::vfio_pci_core_read(device.host().vdev(), buf, count, ppos) }
            }
        }
    }

    #[inline]
    fn write(device: &VariantDevice<T>, call: Call) -> isize {
        match device.way(&call) {
            Way::Driver(bar) => device.trapped_write(bar, call),
            Way::Split(bar) => device.split(bar, call, Self::write),
            Way::Core => {
                let (buf, count, ppos) = call.into_raw();
                // SAFETY: The device is open, and the arguments are those of a write operation.
                unsafe { bindings::vfio_pci_core_write(device.host().vdev(), buf, count, ppos) }
            }
        }
    }

    fn ioctl(device: &VariantDevice<T>, cmd: u32, arg: usize) -> Result<c_long> {
        if cmd == VFIO_DEVICE_IOEVENTFD && !VariantDevice::<T>::TRAPS.is_empty() {
            // An ioeventfd writes a register without passing the trap. Which one cannot be told
            // here: the user may change the arguments before the core reads them again, and the
            // core exports no function that takes a copy.
            return Err(ENOTTY);
        }
        // SAFETY: The device is open, and the arguments are the user's.
        Ok(unsafe { bindings::vfio_pci_core_ioctl(device.host().vdev(), cmd, arg) })
    }
}

impl<T: Operations> VariantDevice<T> {
    /// Sets up an enabled device for its user; if this fails, [`Flavour::open`] disables it.
    fn set_up(&self) -> Result {
        let raw = self.host().as_raw();
        self.register_migration_regions()?;
        self.host()
            .begin_scope(<T::Device as Device>::DIRTY_TRACKING);
        self.begin_use()?;

        // SAFETY: By the type invariant. Nobody else uses the device before it is open, so the
        // field may be changed: the device can be reset, by the driver or the PCI core.
        unsafe {
            (*raw).set_reset_works(true);
            bindings::vfio_pci_core_finish_enable(raw);
        }
        self.forbid_mappings();
        Ok(())
    }
}
