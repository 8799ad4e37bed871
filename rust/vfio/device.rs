// SPDX-License-Identifier: GPL-2.0-only

//! A migratable VFIO device of any flavour: what its flavour keeps, and the migration state beside
//! it.
//!
//! This file holds the device's life: from the VFIO core's `init` to its `release`, and each user's
//! time between `open_device` and `close_device`. Who may touch the state, and when, is in
//! [`state_guard`].

mod call;
mod data_file;
mod data_file_ops;
mod data_section;
mod dirty_scope;
mod flavour;
mod host;
mod link;
#[cfg(CONFIG_IOMMUFD_DRIVER)]
mod log_ops;
mod migration_ops;
mod protocols;
mod region;
mod reminder;
mod sleep;
mod sparse_mmap;
mod state_guard;
mod status;
pub(crate) mod trace;
mod trap;
mod vfio_device_ops;

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::{
        aref::AlwaysRefCounted,
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollCondVar,
        static_lock_class,
        Arc,
        Mutex, //
    }, //
};
use migration::protocols::Migratable;

pub(crate) use self::{
    call::Call,
    dirty_scope::DirtyScope,
    flavour::Flavour,
    host::{
        Host,
        Moment, //
    },
    region::type_of,
    sparse_mmap::add_sparse_mmap,
    vfio_device_ops::{
        vfio_ioctl,
        VTable, //
    }, //
};
use self::{
    data_section::DataSection,
    link::Link,
    status::Status, //
};
use crate::{
    bindings,
    compat,
    dev_warn_ratelimited,
    lock::lock_name,
    DriverModule, //
};

pub use self::protocols::Protocols;

/// A device that a driver of a flavour has bound.
///
/// # Invariants
///
/// `host` is initialised from the start, `inner` from the end of the `init` operation to `release`;
/// the allocation is owned by the VFIO core.
#[repr(C)]
pub(crate) struct VfioDevice<F: Flavour> {
    host: F::Host,
    inner: Inner<F>,
}

/// The part of a device that is the same in every flavour.
#[pin_data]
pub(crate) struct Inner<F: Flavour> {
    /// Data section of the migration region.
    #[pin]
    section: DataSection,
    /// State of the device and of the migration. The lock comes before any lock of VFIO or the
    /// IOMMU except the device set's, which the VFIO core holds around open and close. It is never
    /// held while user memory is copied, and held for one section of an image at a time, since a
    /// section may take the device long.
    #[pin]
    state: Mutex<Migratable<F::Device>>,
    /// What debugfs shows while the device is bound. It holds a reference to the device, so the
    /// driver removes it when it unbinds.
    #[pin]
    status: Mutex<Option<Status<F>>>,
    /// The way from data files to the device.
    link: Arc<Link<F>>,
    /// Others have reset the function (hot reset, error recovery), under locks that come after the
    /// state lock. Whoever takes the state lock next catches up.
    reset_pending: Atomic<bool>,
}

impl<F: Flavour> Inner<F> {
    /// Returns an initialiser; `section_size` is in bytes, a multiple of the page size.
    fn new(device: F::Device, section_size: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            section <- DataSection::new(section_size),
            state <- Mutex::new(
                Migratable::with_reset(device, F::reset_hardware),
                lock_name!("rvfio_state"),
                static_lock_class!()
            ),
            status <- Mutex::new(None, lock_name!("rvfio_status"), static_lock_class!()),
            link: Arc::pin_init(Link::new(), GFP_KERNEL)?,
            reset_pending: Atomic::new(false),
        })
    }
}

// SAFETY: A `VfioDevice` is always in an allocation of the VFIO core, which counts the references
// to its `struct vfio_device` and frees the allocation with the last one.
unsafe impl<F: Flavour> AlwaysRefCounted for VfioDevice<F> {
    fn inc_ref(&self) {
        // SAFETY: The device is valid, since there is a reference to it.
        unsafe { bindings::rvfio_get_device(self.host().vdev()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference, so the device is valid until the call.
        unsafe { bindings::rvfio_put_device(obj.as_ref().host().vdev()) };
    }
}

impl<F: Flavour> VfioDevice<F> {
    /// Borrows the device from the VFIO core's pointer.
    ///
    /// # Safety
    ///
    /// `vdev` must be embedded in a `VfioDevice<F>` whose `init` operation has succeeded and that
    /// stays valid for `'a`.
    pub(crate) unsafe fn from_vdev<'a>(vdev: *mut bindings::vfio_device) -> &'a Self {
        const {
            assert!(core::mem::offset_of!(Self, host) == 0);
            // The VFIO core allocates with kvzalloc().
            assert!(align_of::<Self>() <= 8);
        }
        // SAFETY: `host` is at offset 0, and the VFIO core's structure at offset 0 of that, as
        // `Host` demands.
        unsafe { &*vdev.cast() }
    }

    /// Returns what the flavour keeps of the device.
    pub(crate) fn host(&self) -> &F::Host {
        &self.host
    }

    /// Returns the data section of the migration region.
    pub(crate) fn section(&self) -> &DataSection {
        &self.inner.section
    }

    /// Initialises the device: the `init` operation.
    ///
    /// # Safety
    ///
    /// As for [`Flavour::init`].
    unsafe fn init(vdev: *mut bindings::vfio_device) -> Result {
        // SAFETY: The caller vouches for the device.
        unsafe { F::init(vdev) }?;
        // SAFETY: As above, and the host is initialised.
        let result =
            unsafe { F::new_device(vdev).and_then(|device| Self::init_inner(vdev, device)) };
        if result.is_err() {
            // SAFETY: Undoes `F::init()`; nobody else knows the device.
            unsafe { F::release(vdev) };
        }
        result
    }

    /// Initialises all but `host`.
    ///
    /// # Safety
    ///
    /// As for [`Flavour::init`], which has succeeded.
    unsafe fn init_inner(vdev: *mut bindings::vfio_device, device: F::Device) -> Result {
        if F::OwnerModule::protocols().v2 {
            // SAFETY: The structure is being initialised, and nobody else knows it.
            unsafe { Self::offer_v2(vdev) };
            #[cfg(CONFIG_IOMMUFD_DRIVER)]
            // SAFETY: As above.
            unsafe {
                Self::offer_log(vdev)
            };
        }
        let this = vdev.cast::<Self>();
        // SAFETY: `inner` is uninitialised memory of the allocation, which never moves.
        unsafe {
            compat::init_at(
                &raw mut (*this).inner,
                Inner::new(device, F::OwnerModule::data_section_size()),
            )
        }?;
        let this = NonNull::new(this).ok_or(EINVAL)?;
        // SAFETY: The device is initialised and valid until `release`, which cuts the link.
        unsafe { this.as_ref().inner.link.connect(this) };
        Ok(())
    }

    /// Drops what [`Self::init`] has initialised: the `release` operation.
    ///
    /// # Safety
    ///
    /// As for [`Self::from_vdev`]; nobody else may use the device any more.
    unsafe fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        unsafe { Self::from_vdev(vdev) }.inner.link.cut();
        // SAFETY: As above, and `init` has initialised `inner`.
        unsafe { core::ptr::drop_in_place(&raw mut (*vdev.cast::<Self>()).inner) };
        // SAFETY: As above, and `init` has initialised the host.
        unsafe { F::release(vdev) };
    }

    /// Cuts the device off from its data files, which may outlive it, and removes it from debugfs.
    ///
    /// A driver calls this when it gives the device up and nobody has it open any more.
    pub(crate) fn retire(&self) {
        self.inner.link.cut();
        self.hide_status();
    }

    /// Returns what is notified when a data file may have become readable.
    pub(crate) fn progress(&self) -> &PollCondVar {
        self.inner.link.progress()
    }

    /// Begins a user's time with the device: allocates the section's memory and scrubs the device.
    ///
    /// The flavour has enabled the device before. If this fails, the flavour frees the section.
    pub(crate) fn begin_use(&self) -> Result {
        self.section().allocate()?;
        // Enabling resets a function that can be reset. That is no reset by others.
        self.inner.reset_pending.store(false, Relaxed);
        let mut state = self.state()?;
        self.host().set_open(true);
        state.engine_mut().open(self.host()).inspect_err(|error| {
            self.host().set_open(false);
            dev_warn_ratelimited!(
                self.host(),
                "cannot be given to a user, its state could not be cleared: {:?}\n",
                error
            );
        })
    }

    /// Ends a user's time with the device: scrubs it, so that the next user finds nothing of this
    /// one's.
    pub(crate) fn end_use(&self) {
        let mut state = self.state_unkillable();
        self.host().power_on();
        let result = state.engine_mut().close(self.host());
        self.host().set_open(false);
        drop(state);
        if let Err(error) = result {
            dev_warn_ratelimited!(
                self.host(),
                "could not be cleared on close, the next open tries again: {:?}\n",
                error
            );
        }
        self.progress().notify_all();
    }

    /// Resets the device: `VFIO_DEVICE_RESET`.
    ///
    /// The device is at full power afterwards, as after a reset by vfio-pci.
    pub(crate) fn reset(&self) -> Result {
        let mut state = self.state()?;
        self.host().power_on();
        let result = state.engine_mut().reset(self.host());
        drop(state);
        self.progress().notify_all();
        result
    }
}
