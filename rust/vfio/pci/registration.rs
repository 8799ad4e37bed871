// SPDX-License-Identifier: GPL-2.0-only

//! Registration of a variant driver with the PCI bus.
//!
//! The kernel crate's `pci::Driver` cannot be one: VFIO manages the DMA domain
//! (`driver_managed_dma`), error handlers are needed, and the driver data must be the `struct
//! vfio_pci_core_device`, which vfio-pci's own callbacks expect.

use core::marker::PhantomData;

use kernel::{
    bindings::{
        __pci_register_driver, //
        dev_get_drvdata,
        dev_set_drvdata,
        pci_channel_io_frozen,
        pci_channel_io_perm_failure,
        pci_channel_state_t,
        pci_dev,
        pci_device_id,
        pci_driver,
        pci_error_handlers,
        pci_ers_result_PCI_ERS_RESULT_RECOVERED,
        pci_ers_result_t,
        pci_unregister_driver,
    },
    container_of,
    device,
    device_id::{
        IdArray,
        IdTable, //
    },
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    module::this_module,
    prelude::*,
    types::Opaque,
    ModuleMetadata,
    ThisModule, //
};

use super::{
    operations::Operations,
    variant_device::{
        Pci,
        VariantDevice, //
    },
    CoreDevice,
    DeviceId, //
};
use crate::{
    bindings,
    debugfs::Directory,
    device::VTable,
    leaks::Listed,
    DriverModule, //
};

/// A registered variant driver. Its drop unregisters the driver; if it is leaked, the end of its
/// module does.
///
/// # Invariants
///
/// `driver` is registered with the PCI bus.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Operations> {
    /// The driver's directory in debugfs.
    directory: Directory,
    #[pin]
    driver: Opaque<pci_driver>,
    /// The entry by which `rvfio.ko` finds a registration that was leaked.
    #[pin]
    listed: Listed,
    _variant: PhantomData<T>,
}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T: Operations> Sync for Registration<T> {}

// SAFETY: Registration and unregistration may happen on any thread.
unsafe impl<T: Operations> Send for Registration<T> {}

impl<T: Operations> Registration<T> {
    /// Registers the driver for a module. It takes the devices in `table`, which
    /// [`pci_device_table!`](crate::pci_device_table) makes: an object of another type could have
    /// the PCI core read any memory.
    ///
    /// `EINVAL`, with a message, if a parameter of the module is out of its range.
    pub fn new<const N: usize>(
        module: &'static ThisModule,
        table: &'static IdArray<DeviceId, (), N>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { T::OwnerModule::check_parameters()? },
            directory: Directory::new(<T::OwnerModule as ModuleMetadata>::NAME)?,
            // INVARIANT: The driver is registered if the initialiser succeeds.
            driver <- Opaque::try_ffi_init(|driver: *mut pci_driver| {
                // SAFETY: The memory is valid for writes and pinned until `drop`, which
                // unregisters the driver.
                to_result(unsafe {
                    driver.write(pin_init::zeroed());
                    (*driver).name = <T::OwnerModule as ModuleMetadata>::NAME.as_char_ptr();
                    (*driver).id_table = table.as_ptr();
                    (*driver).probe = Some(Self::probe);
                    (*driver).remove = Some(Self::remove);
                    (*driver).err_handler = &Self::ERROR_HANDLERS;
                    (*driver).driver_managed_dma = true;
                    __pci_register_driver(driver, module.as_ptr(), <T::OwnerModule as ModuleMetadata>::NAME.as_char_ptr())
                })
            }),
            // SAFETY: `end_leaked` is for a `listed` in a `Self`.
            listed <- unsafe { Listed::new(this_module::<T::OwnerModule>(), Self::end_leaked) },
            _variant: PhantomData,
        })
    }

    /// Ends a registration that its module has leaked.
    ///
    /// # Safety
    ///
    /// `listed` must be in a `Self` that nobody will ever drop or use otherwise.
    unsafe extern "C" fn end_leaked(listed: *mut bindings::rvfio_registration) {
        let listed = Listed::from_raw(listed);
        // SAFETY: The caller vouches for the object. Its memory was leaked with it, by the
        // guarantee of pinning.
        unsafe { core::ptr::drop_in_place(container_of!(listed, Self, listed)) };
    }

    /// Returns the debugfs directory of the driver that is binding a device.
    ///
    /// # Safety
    ///
    /// The device must be bound, or being bound, by a registered driver of this type.
    unsafe fn directory(core: &CoreDevice) -> &Directory {
        // SAFETY: The PCI core sets the driver before it probes a device. It is the one embedded in
        // a `Registration<T>`, which stays until all its devices are unbound.
        unsafe {
            let driver: *mut Opaque<pci_driver> = (*core.pdev()).driver.cast();
            &(*container_of!(driver, Self, driver)).directory
        }
    }

    /// What the PCI core calls on errors and resets.
    const ERROR_HANDLERS: pci_error_handlers = {
        let mut handlers: pci_error_handlers = pin_init::zeroed();
        handlers.error_detected = Some(Self::error_detected);
        handlers.slot_reset = Some(Self::slot_reset);
        handlers.resume = Some(Self::resume);
        handlers.reset_prepare = Some(Self::reset_prepare);
        handlers.reset_done = Some(Self::reset_done);
        handlers
    };

    /// Binds a device; `ENODEV` if the driver's table does not have it.
    ///
    /// # Safety
    ///
    /// Called by the PCI core with a device that it offers this driver, and the matching entry.
    unsafe extern "C" fn probe(pdev: *mut pci_dev, id: *const pci_device_id) -> c_int {
        from_result(|| {
            // SAFETY: Both are valid by the function's requirements.
            let (host, id): (&device::Device, _) =
                unsafe { (device::Device::from_raw(&raw mut (*pdev).dev), &*id) };
            if DeviceId::is_stand_in(id) {
                dev_err!(host, "not a device of this driver\n");
                return Err(ENODEV);
            }
            // SAFETY: `pdev` is valid, and the operations are static and made for the size given.
            let vdev = from_err_ptr(unsafe {
                bindings::_vfio_alloc_device(
                    size_of::<VariantDevice<T>>(),
                    &raw mut (*pdev).dev,
                    &VTable::<Pci<T>>::OPS,
                )
            })?;
            // SAFETY: The device was just allocated, and `probe` owns a reference.
            let device = unsafe { VariantDevice::<T>::from_vdev(vdev) };
            // SAFETY: The driver is binding the device.
            let result = device.show_status(unsafe { Self::directory(device.host()) });
            let result = result.and_then(|()| {
                let core = device.host().as_raw();
                // SAFETY: The device is valid; the driver data is what vfio-pci expects.
                to_result(unsafe {
                    dev_set_drvdata(&raw mut (*pdev).dev, core.cast());
                    bindings::vfio_pci_core_register_device(core)
                })
            });
            if result.is_err() {
                device.hide_status();
                // SAFETY: The reference of the allocation is given up.
                unsafe { bindings::rvfio_put_device(vdev) };
            }
            result.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the PCI core with a device that `probe` took.
    unsafe extern "C" fn remove(pdev: *mut pci_dev) {
        // SAFETY: The caller vouches for the device.
        let device = unsafe { Self::device(pdev) };
        if device.host().passes().is_recovering() {
            // If a device goes away during a recovery, the PCI core does not report the end of it.
            // The user who has the device open must not wait for that.
            Self::recovered(device);
        }
        // SAFETY: `probe` has set the driver data and owns one reference.
        unsafe {
            let core: *mut bindings::vfio_pci_core_device =
                dev_get_drvdata(&raw mut (*pdev).dev).cast();
            bindings::vfio_pci_core_unregister_device(core);
            VariantDevice::<T>::from_vdev(core.cast()).retire();
            bindings::rvfio_put_device(core.cast());
        }
    }

    /// # Safety
    ///
    /// Called by the PCI core with a device that `probe` took.
    unsafe extern "C" fn error_detected(
        pdev: *mut pci_dev,
        state: pci_channel_state_t,
    ) -> pci_ers_result_t {
        // SAFETY: The caller vouches for the device.
        let device = unsafe { Self::device(pdev) };
        if state == pci_channel_io_perm_failure {
            // The recovery has failed, or there is none.
            Self::recovered(device);
        } else {
            let is_frozen = state == pci_channel_io_frozen;
            // The recovery resets a frozen bus, and another one if any driver on the bus demands
            // it, with neither `reset_prepare` nor `reset_done`.
            device.host().passes().error_detected(is_frozen);
            if is_frozen {
                // Whoever takes the state lock now catches up first, and so waits for the end of
                // the recovery.
                device.was_reset();
            }
        }
        // SAFETY: The caller vouches for the device.
        unsafe { bindings::vfio_pci_core_aer_err_detected(pdev, state) }
    }

    /// The bus was reset because another driver demanded it. vfio-pci's own vote does not.
    ///
    /// # Safety
    ///
    /// Called by the PCI core with a device that `probe` took.
    unsafe extern "C" fn slot_reset(pdev: *mut pci_dev) -> pci_ers_result_t {
        // SAFETY: The caller vouches for the device.
        unsafe { Self::device(pdev) }.host().passes().slot_reset();
        pci_ers_result_PCI_ERS_RESULT_RECOVERED
    }

    /// # Safety
    ///
    /// Called by the PCI core with a device that `probe` took.
    unsafe extern "C" fn resume(pdev: *mut pci_dev) {
        // SAFETY: The caller vouches for the device.
        let device = unsafe { Self::device(pdev) };
        if device.host().passes().recovery_resets() {
            // Nobody else restores what the reset has cleared.
            // SAFETY: The caller vouches for the device.
            unsafe { bindings::rvfio_restore_config(pdev) };
            Self::recovered(device);
        } else {
            device.host().passes().recovered();
        }
    }

    /// The recovery has ended, and the device was reset or cannot be used.
    fn recovered(device: &VariantDevice<T>) {
        // Noted first, so that whoever uses the function from then on knows.
        device.was_reset();
        device.host().passes().recovered();
    }

    /// # Safety
    ///
    /// Called by the PCI core with a device that `probe` took.
    unsafe extern "C" fn reset_prepare(pdev: *mut pci_dev) {
        // SAFETY: The caller vouches for the device.
        unsafe { Self::device(pdev) }
            .host()
            .passes()
            .reset_prepare();
    }

    /// # Safety
    ///
    /// Called by the PCI core with a device that `probe` took.
    unsafe extern "C" fn reset_done(pdev: *mut pci_dev) {
        // SAFETY: The caller vouches for the device.
        let device = unsafe { Self::device(pdev) };
        // The driver's own resets need no catching up: its device is reset next. Others are noted
        // first, so that whoever uses the function from then on knows.
        if !device.host().resets().is_own() {
            device.was_reset();
        }
        device.host().passes().reset_done();
    }

    /// Returns the device of a PCI function.
    ///
    /// # Safety
    ///
    /// `probe` must have taken it, and `remove` must not give it back before `'a` ends.
    unsafe fn device<'a>(pdev: *mut pci_dev) -> &'a VariantDevice<T> {
        // SAFETY: `probe` has set the driver data, and the device lives until `remove`.
        unsafe { VariantDevice::<T>::from_vdev(dev_get_drvdata(&raw mut (*pdev).dev).cast()) }
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the type invariant.
        unsafe { pci_unregister_driver(self.driver.get()) };
    }
}
