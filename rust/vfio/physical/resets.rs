// SPDX-License-Identifier: GPL-2.0-only

//! Resets of a function by others: through sysfs, of its bus, or to recover from an error.
//!
//! The PCI core calls the driver before and after a reset, which `kernel::pci` does not pass on.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use core::pin::Pin;

use kernel::{
    bindings::{
        pci_channel_io_perm_failure,
        pci_channel_state_t,
        pci_dev,
        pci_driver,
        pci_error_handlers,
        pci_ers_result_PCI_ERS_RESULT_CAN_RECOVER,
        pci_ers_result_t, //
    },
    device::CoreInternal,
    driver::{
        DriverLayout,
        RegistrationOps, //
    },
    pci,
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

/// A driver that takes part in resets by others.
pub trait Resettable: pci::Driver {
    /// The function is about to be reset: ends what it does, and begins nothing until
    /// [`Self::reset_done`]. That always follows, unless the driver is unbound before.
    ///
    /// May be called once more before that: an error may come during the recovery from another. May
    /// sleep. The device lock is held, so the driver is not unbound meanwhile.
    fn reset_prepare(data: Pin<&Self::Data<'_>>);

    /// The function has its configuration again, whether it was reset or not.
    fn reset_done(data: Pin<&Self::Data<'_>>);
}

/// [`pci::Adapter`] for a driver that takes part in resets.
pub struct Adapter<T: Resettable>(T);

// SAFETY: All items are those of `pci::Adapter`.
unsafe impl<T: Resettable> DriverLayout for Adapter<T> {
    type DriverType = pci_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = pci::Adapter::<T>::DEVICE_DRIVER_OFFSET;
}

// SAFETY: As above.
unsafe impl<T: Resettable> RegistrationOps for Adapter<T> {
    unsafe fn register(
        driver: &Opaque<pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: Nobody else has the structure before it is registered. The caller keeps it pinned
        // until it is unregistered.
        unsafe {
            (*driver.get()).err_handler = &Self::HANDLERS;
            pci::Adapter::<T>::register(driver, name, module)
        }
    }

    unsafe fn unregister(driver: &Opaque<pci_driver>) {
        // SAFETY: Registered by the caller's requirements.
        unsafe { pci::Adapter::<T>::unregister(driver) };
    }
}

impl<T: Resettable> Adapter<T> {
    const HANDLERS: pci_error_handlers = {
        let mut handlers: pci_error_handlers = pin_init::zeroed();
        handlers.error_detected = Some(Self::error_detected);
        handlers.resume = Some(Self::resume);
        handlers.reset_prepare = Some(Self::reset_prepare);
        handlers.reset_done = Some(Self::reset_done);
        handlers
    };

    /// The bus has an error. The recovery may take a reset, for which the PCI core calls neither
    /// `reset_prepare` nor `reset_done`. Without this function the PCI core would not recover.
    ///
    /// # Safety
    ///
    /// As for [`Self::reset_prepare`].
    unsafe extern "C" fn error_detected(
        pdev: *mut pci_dev,
        state: pci_channel_state_t,
    ) -> pci_ers_result_t {
        // SAFETY: The caller vouches for the device.
        let data = unsafe { Self::data(pdev) };
        if state == pci_channel_io_perm_failure {
            // The recovery has failed, or there is none.
            T::reset_done(data);
        } else {
            T::reset_prepare(data);
        }
        pci_ers_result_PCI_ERS_RESULT_CAN_RECOVER
    }

    /// # Safety
    ///
    /// As for [`Self::reset_prepare`].
    unsafe extern "C" fn resume(pdev: *mut pci_dev) {
        // If the recovery has reset the function, nobody else restores its configuration. If not,
        // this changes nothing.
        // SAFETY: The caller vouches for the device, which holds the device lock.
        unsafe { bindings::rvfio_restore_config(pdev) };
        // SAFETY: The caller vouches for the device.
        T::reset_done(unsafe { Self::data(pdev) });
    }

    /// # Safety
    ///
    /// Called by the PCI core with a device that is bound to the driver, its lock held.
    unsafe extern "C" fn reset_prepare(pdev: *mut pci_dev) {
        // SAFETY: The caller vouches for the device.
        T::reset_prepare(unsafe { Self::data(pdev) });
    }

    /// # Safety
    ///
    /// As for [`Self::reset_prepare`].
    unsafe extern "C" fn reset_done(pdev: *mut pci_dev) {
        // SAFETY: The caller vouches for the device.
        T::reset_done(unsafe { Self::data(pdev) });
    }

    /// Returns the driver's data of a device.
    ///
    /// # Safety
    ///
    /// The device must be bound to the driver, and its lock held for `'a`.
    unsafe fn data<'a>(pdev: *mut pci_dev) -> Pin<&'a T::Data<'a>> {
        // SAFETY: The device is valid, and its data exist: it is bound, and its lock excludes
        // binding and unbinding.
        unsafe {
            let pdev = &*pdev.cast::<pci::Device<CoreInternal<'_>>>();
            pdev.as_ref().drvdata_borrow::<T::Data<'a>>()
        }
    }
}
