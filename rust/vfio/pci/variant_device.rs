// SPDX-License-Identifier: GPL-2.0-only

//! A variant device: what the vfio-pci core keeps, and the migration state beside it.

use core::ops::{
    Deref,
    DerefMut, //
};

use kernel::{
    debugfs::Dir,
    error::to_result,
    new_poll_condvar,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::mutex::MutexGuard,
        new_mutex,
        poll::PollCondVar,
        Mutex, //
    },
    types::Opaque, //
};
use migration::{
    device::Access,
    migratable::Migratable, //
};

use super::{
    status::Status,
    trace::{
        self,
        Snapshot, //
    },
    CoreDevice,
    Protocols,
    Variant, //
};
use crate::{
    bindings,
    data_section::DataSection,
    dev_warn_ratelimited, //
};

/// A device of a variant driver.
///
/// # Invariants
///
/// `core` is at offset 0, was initialised by `vfio_pci_core_init_dev()`, and the allocation is owned
/// by the VFIO core. `inner` is initialised from the end of the `init` operation to `release`.
#[repr(C)]
pub(super) struct VariantDevice<T: Variant> {
    core: Opaque<bindings::vfio_pci_core_device>,
    inner: Inner<T>,
}

/// The Rust part of a device.
#[pin_data]
pub(super) struct Inner<T: Variant> {
    /// Data section of the migration region.
    #[pin]
    pub(super) section: DataSection,
    /// State of the device and of the migration. Taken before any lock of VFIO or the IOMMU but the
    /// device set's, which the VFIO core holds around open and close. Never held while user memory
    /// is copied.
    #[pin]
    state: Mutex<Migratable<T::Device>>,
    /// What debugfs shows while the device is bound. It holds a reference to the device, so the
    /// driver takes it away when it unbinds.
    #[pin]
    status: Mutex<Option<Status<T>>>,
    /// Notified when a data file may have become readable.
    #[pin]
    progress: PollCondVar,
    /// The function was reset by others (hot reset, error recovery), under locks that come after
    /// the state lock; whoever takes that next catches up.
    reset_pending: Atomic<bool>,
    /// A user has the device open. Data files come here when none has, when the function may even be
    /// another driver's or gone: there is nothing to catch up then. Changes under the state lock.
    is_open: Atomic<bool>,
}

impl<T: Variant> Inner<T> {
    /// Returns an initialiser of the Rust part of `core`.
    fn new(core: &CoreDevice) -> Result<impl PinInit<Self, Error> + use<T>> {
        let device = Migratable::new(T::new(core)?);
        Ok(try_pin_init!(Self {
            section <- DataSection::new(T::data_section_size()),
            state <- new_mutex!(device, "rvfio_state"),
            status <- new_mutex!(None, "rvfio_status"),
            progress <- new_poll_condvar!("rvfio_progress"),
            reset_pending: Atomic::new(false),
            is_open: Atomic::new(false),
        }))
    }
}

impl<T: Variant> VariantDevice<T> {
    /// Borrows the device from the VFIO core's pointer.
    ///
    /// # Safety
    ///
    /// `vdev` must be embedded in a `VariantDevice<T>` whose `init` operation has succeeded and that
    /// stays valid for `'a`.
    pub(super) unsafe fn from_vdev<'a>(vdev: *mut bindings::vfio_device) -> &'a Self {
        const {
            assert!(core::mem::offset_of!(Self, core) == 0);
            assert!(core::mem::offset_of!(bindings::vfio_pci_core_device, vdev) == 0);
            // The VFIO core allocates with kvzalloc().
            assert!(align_of::<Self>() <= 8);
        }
        // SAFETY: Both structures lie at offset 0 of what embeds them.
        unsafe { &*vdev.cast() }
    }

    /// Returns the vfio-pci core's part.
    pub(super) fn core(&self) -> &CoreDevice {
        // SAFETY: By the type invariant.
        unsafe { CoreDevice::from_raw(self.core.get()) }
    }

    /// Returns the data section of the migration region.
    pub(super) fn section(&self) -> &DataSection {
        &self.inner.section
    }

    /// Initialises the device: the `init` operation.
    ///
    /// # Safety
    ///
    /// `vdev` must be embedded in an allocation of the size of `Self` that is being initialised.
    pub(super) unsafe fn init(vdev: *mut bindings::vfio_device) -> Result {
        // SAFETY: The VFIO core calls `init` once with a zeroed structure.
        to_result(unsafe { bindings::vfio_pci_core_init_dev(vdev) })?;
        if Self::protocols().v2 {
            // SAFETY: The structure was just initialised, and nobody else knows it.
            unsafe { Self::offer_v2(vdev) };
        }
        let this = vdev.cast::<Self>();
        // SAFETY: The structure was just initialised.
        let core = unsafe { CoreDevice::from_raw(vdev.cast()) };
        let result = Inner::<T>::new(core).and_then(|inner| {
            // SAFETY: `inner` is uninitialised memory of the allocation, which never moves.
            unsafe { pin_init::raw_try_init(&raw mut (*this).inner, inner) }
        });
        if result.is_err() {
            // SAFETY: Undoes `vfio_pci_core_init_dev()`.
            unsafe { bindings::vfio_pci_core_release_dev(vdev) };
        }
        result
    }

    /// Ends the device: the `release` operation.
    ///
    /// # Safety
    ///
    /// As for [`Self::from_vdev`]; nobody else may use the device any more.
    pub(super) unsafe fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device, and `init` has initialised `inner`.
        unsafe {
            core::ptr::drop_in_place(&raw mut (*vdev.cast::<Self>()).inner);
            bindings::vfio_pci_core_release_dev(vdev);
        }
    }

    /// Takes the state lock.
    pub(super) fn state(&self) -> State<'_, T> {
        let mut guard = self.inner.state.lock();
        if self.inner.is_open.load(Relaxed) && self.inner.reset_pending.xchg(false, Relaxed) {
            if let Err(error) = guard.reset(self.core()) {
                dev_warn_ratelimited!(
                    self.core().as_ref(),
                    "the device cannot be used after a reset by others: {:?}\n",
                    error
                );
            }
        }
        State {
            before: Snapshot::of(guard.engine()),
            core: self.core(),
            guard,
        }
    }

    /// Takes the state lock to look, whatever is to be caught up with.
    pub(super) fn peek(&self) -> MutexGuard<'_, Migratable<T::Device>> {
        self.inner.state.lock()
    }

    /// Shows the device in the driver's directory of debugfs; `ENOMEM` without memory.
    pub(super) fn show_status(&self, driver: &Dir) -> Result {
        let status = Status::new(self, driver)?;
        *self.inner.status.lock() = Some(status);
        Ok(())
    }

    /// Takes away what [`Self::show_status`] shows.
    pub(super) fn hide_status(&self) {
        let status = self.inner.status.lock().take();
        drop(status);
    }

    /// Does `work` under the state lock; says in the kernel log why an image was refused by it.
    pub(super) fn load(&self, work: impl FnOnce(&mut Migratable<T::Device>) -> Result) -> Result {
        let mut state = self.state();
        let (before, session) = (state.engine().last_refusal(), state.engine().session());
        let result = work(&mut state);
        let after = state.engine().last_refusal();
        if state.engine().session() != session {
            self.core().limit_dirty_scope();
        }
        drop(state);

        if let Some(refusal) = after.filter(|_| result.is_err() && after != before) {
            dev_warn_ratelimited!(
                self.core().as_ref(),
                "migration image refused: {}\n",
                format_args!("{}", refusal)
            );
        }
        result
    }

    /// Returns what is notified when a data file may have become readable.
    pub(super) fn progress(&self) -> &PollCondVar {
        &self.inner.progress
    }

    /// Notes that others have reset the function.
    pub(super) fn was_reset(&self) {
        self.inner.reset_pending.store(true, Relaxed);
    }

    /// Opens the device for a user: enables it, adds the regions and scrubs it.
    pub(super) fn open(&self) -> Result {
        let raw = self.core().as_raw();
        // SAFETY: By the type invariant; the VFIO core holds the device set's lock.
        to_result(unsafe { bindings::vfio_pci_core_enable(raw) })?;
        let result = self.set_up();
        if result.is_err() {
            // SAFETY: Undoes `vfio_pci_core_enable()`.
            unsafe { bindings::vfio_pci_core_disable(raw) };
            self.section().free();
        }
        result
    }

    /// Does what [`Self::open`] must undo as a whole.
    fn set_up(&self) -> Result {
        let raw = self.core().as_raw();
        self.register_migration_regions()?;
        self.section().allocate()?;
        // Enabling has reset the function where it can be; that is no news any more.
        self.inner.reset_pending.store(false, Relaxed);
        let mut state = self.state();
        state.open(self.core()).inspect_err(|error| {
            dev_warn!(
                self.core().as_ref(),
                "cannot be given to a user, its state could not be cleared: {:?}\n",
                error
            );
        })?;
        self.inner.is_open.store(true, Relaxed);
        drop(state);

        // SAFETY: By the type invariant. Nobody else uses the device before it is open, so the
        // fields may be changed: the driver resets the device itself, and decodes the BARs, which
        // must therefore not be mapped.
        unsafe {
            (*raw).set_reset_works(true);
            bindings::vfio_pci_core_finish_enable(raw);
            for bar in T::TRAPPED_BARS {
                if let Some(supported) = (*raw).bar_mmap_supported.get_mut(usize::from(*bar)) {
                    *supported = false;
                }
            }
        }
        Ok(())
    }

    /// Closes the device: scrubs it so that nothing is left for the next user.
    pub(super) fn close(&self) {
        // The user may have left the device in a low-power state.
        // SAFETY: By the type invariant.
        let awake = unsafe { bindings::rvfio_pm_get(self.core().as_raw()) } == 0;
        let mut state = self.state();
        let result = state.close(self.core());
        self.inner.is_open.store(false, Relaxed);
        drop(state);
        if let Err(error) = result {
            dev_warn!(
                self.core().as_ref(),
                "could not be cleared on close, the next open tries again: {:?}\n",
                error
            );
        }
        self.progress().notify_all();
        if awake {
            // SAFETY: Balances `rvfio_pm_get()`.
            unsafe { bindings::rvfio_pm_put(self.core().as_raw()) };
        }
        // SAFETY: By the type invariant; the VFIO core calls this once for each `open`.
        unsafe { bindings::vfio_pci_core_close_device(self.core().as_raw().cast()) };
        self.section().free();
    }

    /// Resets the device: `VFIO_DEVICE_RESET`.
    pub(super) fn reset(&self) -> Result {
        let result = self.state().reset(self.core());
        self.progress().notify_all();
        result
    }

    /// The guest reads a trapped register.
    pub(super) fn read_register(&self, access: Access) -> Result<u64> {
        let unlocked = if T::HAS_READ_UNLOCKED {
            T::read_unlocked(self.core(), access)
        } else {
            None
        };
        unlocked.unwrap_or_else(|| self.state().read_register(self.core(), access))
    }

    /// The guest writes a trapped register.
    pub(super) fn write_register(&self, access: Access, value: u64) -> Result {
        let mut state = self.state();
        let result = state
            .write_register(self.core(), access, value)
            .inspect_err(|error| trace::refused(self.core(), access, value, *error));
        let is_saving = state.engine().session().is_some();
        drop(state);
        if is_saving {
            // The write may have changed what is to be saved.
            self.progress().notify_all();
        }
        result
    }

    /// Returns the migration protocols that the driver offers.
    pub(super) fn protocols() -> Protocols {
        if T::HAS_PROTOCOLS {
            T::protocols()
        } else {
            Protocols::ALL
        }
    }

    /// Returns the BAR that a region is, where it is trapped.
    pub(super) fn trapped_bar(region: u64) -> Option<u8> {
        T::TRAPPED_BARS
            .iter()
            .copied()
            .find(|bar| u64::from(*bar) == region)
    }
}

/// The state of a device while its lock is held; emits trace events for what was done with it.
pub(super) struct State<'a, T: Variant> {
    guard: MutexGuard<'a, Migratable<T::Device>>,
    before: Snapshot,
    core: &'a CoreDevice,
}

impl<T: Variant> Deref for State<'_, T> {
    type Target = Migratable<T::Device>;

    fn deref(&self) -> &Self::Target {
        &self.guard
    }
}

impl<T: Variant> DerefMut for State<'_, T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.guard
    }
}

impl<T: Variant> Drop for State<'_, T> {
    fn drop(&mut self) {
        self.before.trace(self.core, self.guard.engine());
    }
}
