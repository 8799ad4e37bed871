// SPDX-License-Identifier: GPL-2.0-only

//! A migratable VFIO device of any flavour: what its flavour keeps, and the migration state beside it.

mod data_file;
mod data_section;
mod device_ref;
mod flavour;
mod link;
#[cfg(CONFIG_IOMMUFD_DRIVER)]
mod log_ops;
mod migration_ops;
mod region;
mod reminder;
mod status;
pub(crate) mod trace;
mod trap;
mod vtable;

use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::mutex::MutexGuard,
        poll::PollCondVar,
        static_lock_class,
        Arc,
        Mutex, //
    }, //
};
use migration::{
    device::Access,
    migratable::Migratable,
    state, //
};

use self::{
    data_section::DataSection,
    link::Link,
    status::Status,
    trace::Snapshot, //
};
pub(crate) use self::{
    flavour::{
        DirtyScope,
        Flavour,
        Host,
        Moment, //
    },
    region::type_of,
    vtable::{
        vfio_ioctl,
        VTable, //
    }, //
};
use crate::{
    bindings,
    debugfs::Directory,
    dev_warn_ratelimited,
    lock::{
        lock_killable,
        lock_name, //
    }, //
};

pub use self::flavour::Protocols;

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
    /// State of the device and of the migration. Taken before any lock of VFIO or the IOMMU but the
    /// device set's, which the VFIO core holds around open and close. Never held while user memory
    /// is copied, and for one section of an image at a time: each may take the device long.
    #[pin]
    state: Mutex<Migratable<F::Device>>,
    /// What debugfs shows while the device is bound. It holds a reference to the device, so the
    /// driver takes it away when it unbinds.
    #[pin]
    status: Mutex<Option<Status<F>>>,
    /// What data files know of the device.
    link: Arc<Link<F>>,
    /// The function was reset by others (hot reset, error recovery), under locks that come after
    /// the state lock; whoever takes that next catches up.
    reset_pending: Atomic<bool>,
}

impl<F: Flavour> Inner<F> {
    /// Returns an initialiser; `section_size` is in bytes, a multiple of the page size.
    fn new(device: F::Device, section_size: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            section <- DataSection::new(section_size),
            state <- Mutex::new(
                Migratable::new(device),
                lock_name!("rvfio_state"),
                static_lock_class!()
            ),
            status <- Mutex::new(None, lock_name!("rvfio_status"), static_lock_class!()),
            link: Arc::pin_init(Link::new(), GFP_KERNEL)?,
            reset_pending: Atomic::new(false),
        })
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

    /// Returns what the flavour keeps.
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
        if F::protocols().v2 {
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
            pin_init::raw_try_init(
                &raw mut (*this).inner,
                Inner::new(device, F::data_section_size()),
            )
        }?;
        let this = NonNull::new(this).ok_or(EINVAL)?;
        // SAFETY: The device is initialised and valid until `release`, which cuts the link.
        unsafe { this.as_ref().inner.link.connect(this) };
        Ok(())
    }

    /// Ends what [`Self::init`] has initialised.
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

    /// The driver gives the device up, which nobody has open any more: its data files, which may
    /// outlive it, have no device from now on.
    pub(crate) fn retire(&self) {
        self.inner.link.cut();
        self.hide_status();
    }

    /// Takes the state lock for what no trace event tells of; `EINTR` if the caller is killed while
    /// it waits.
    fn lock(&self) -> Result<MutexGuard<'_, Migratable<F::Device>>> {
        let guard = lock_killable(&self.inner.state)?;
        Ok(self.caught_up(guard))
    }

    /// Does what is left to do after a reset by others, if something is.
    fn caught_up<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Migratable<F::Device>>,
    ) -> MutexGuard<'a, Migratable<F::Device>> {
        // Data files come here when no user has the device open, when the function may even be
        // another driver's or gone: there is nothing to catch up then.
        if F::IS_RESET_BY_OTHERS && self.inner.reset_pending.load(Relaxed) && self.host().is_open()
        {
            self.catch_up(&mut guard);
        }
        guard
    }

    /// Does what is left to do after a reset by others.
    #[cold]
    fn catch_up(&self, device: &mut Migratable<F::Device>) {
        if !self.inner.reset_pending.xchg(false, Relaxed) {
            return;
        }
        let before = Snapshot::of(device.engine());
        self.host().power_on();
        if let Err(error) = device.reset_by_others(self.host()) {
            dev_warn_ratelimited!(
                self.host(),
                "the device cannot be used after a reset by others: {:?}\n",
                error
            );
        }
        before.trace(self.host().as_ref(), device.engine());
        self.progress().notify_all();
    }

    /// Takes the state lock; `EINTR` where the caller is killed while it waits.
    pub(crate) fn state(&self) -> Result<State<'_, F>> {
        Ok(self.observed(self.lock()?))
    }

    /// Takes the state lock for what must be done even if the caller is killed.
    fn state_unkillable(&self) -> State<'_, F> {
        self.observed(self.caught_up(self.inner.state.lock()))
    }

    /// Has what is done from here on told to those who trace or wait.
    fn observed<'a>(&'a self, guard: MutexGuard<'a, Migratable<F::Device>>) -> State<'a, F> {
        State {
            before: Snapshot::of(guard.engine()),
            device: self,
            guard,
        }
    }

    /// Takes the state lock to look, whatever is to be caught up with.
    pub(crate) fn peek(&self) -> MutexGuard<'_, Migratable<F::Device>> {
        self.inner.state.lock()
    }

    /// As [`Self::peek`]; `EINTR` where the caller is killed while it waits.
    pub(crate) fn peek_killable(&self) -> Result<MutexGuard<'_, Migratable<F::Device>>> {
        lock_killable(&self.inner.state)
    }

    /// Shows the device in the driver's directory of debugfs; `ENOMEM` without memory.
    pub(crate) fn show_status(&self, driver: &Directory) -> Result {
        let status = Status::new(self, driver)?;
        *self.inner.status.lock() = Some(status);
        Ok(())
    }

    /// Takes away what [`Self::show_status`] shows.
    pub(crate) fn hide_status(&self) {
        let status = self.inner.status.lock().take();
        drop(status);
    }

    /// Does `work` under the state lock; says in the kernel log why an image was refused by it.
    pub(crate) fn load<R>(
        &self,
        work: impl FnOnce(&mut Migratable<F::Device>) -> Result<R>,
    ) -> Result<R> {
        let mut state = self.state()?;
        let before = state.engine().last_refusal();
        let result = work(&mut state);
        let after = state.engine().last_refusal();
        drop(state);

        if let Some(refusal) = after.filter(|_| result.is_err() && after != before) {
            dev_warn_ratelimited!(
                self.host(),
                "migration image refused: {}\n",
                format_args!("{}", refusal)
            );
        }
        result
    }

    /// Has the container of an open device count what the device wrote, after a call that has left it
    /// in `state`.
    fn limit_dirty_scope(&self, state: state::State) {
        self.host().limit_dirty_scope(Moment::Call);
        if !matches!(state, state::State::Running | state::State::Resuming) {
            // The client may be about to ask the container.
            self.host().tell_dirty_scope();
        }
    }

    /// Returns what is notified when a data file may have become readable.
    pub(crate) fn progress(&self) -> &PollCondVar {
        self.inner.link.progress()
    }

    /// Notes that others have reset the function.
    ///
    /// Those who wait for a data file look, and catch up with it.
    pub(crate) fn was_reset(&self) {
        self.inner.reset_pending.store(true, Relaxed);
        self.progress().notify_all();
    }

    /// Begins a user's time with the device: gives the section memory and scrubs the device.
    ///
    /// The flavour has enabled the device. On an error the flavour frees the section.
    pub(crate) fn begin_use(&self) -> Result {
        self.section().allocate()?;
        // Enabling has reset the function where it can be; that is no news any more.
        self.inner.reset_pending.store(false, Relaxed);
        let mut state = self.state()?;
        self.host().set_open(true);
        state.open(self.host()).inspect_err(|error| {
            self.host().set_open(false);
            dev_warn_ratelimited!(
                self.host(),
                "cannot be given to a user, its state could not be cleared: {:?}\n",
                error
            );
        })
    }

    /// Ends a user's time with the device: scrubs it so that nothing is left for the next user.
    pub(crate) fn end_use(&self) {
        let mut state = self.state_unkillable();
        self.host().power_on();
        let result = state.close(self.host());
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
    /// It is at full power then, as after a reset by vfio-pci.
    pub(crate) fn reset(&self) -> Result {
        let mut state = self.state()?;
        self.host().power_on();
        let result = state.reset(self.host());
        drop(state);
        self.progress().notify_all();
        result
    }

    /// The guest reads a trapped register.
    pub(crate) fn read_register(&self, access: Access) -> Result<u64> {
        let mut state = self.lock()?;
        let result = state.read_register(self.host(), access);
        self.host().limit_dirty_scope(Moment::Access);
        result
    }

    /// The guest writes a trapped register.
    pub(crate) fn write_register(&self, access: Access, value: u64) -> Result {
        let mut state = self.lock()?;
        let result = state
            .write_register(self.host(), access, value)
            .inspect_err(|error| trace::refused(self.host().as_ref(), access, value, *error));
        self.host().limit_dirty_scope(Moment::Access);
        let is_saving = state.engine().session().is_some();
        drop(state);
        if is_saving {
            // The write may have changed what is to be saved.
            self.progress().notify_all();
        }
        result
    }
}

/// The state of a device while its lock is held; emits trace events for what was done with it, and
/// wakes those up who wait for the data file of a session that has ended. It is the client's calls,
/// so at the end of each the container is seen to.
pub(crate) struct State<'a, F: Flavour> {
    guard: MutexGuard<'a, Migratable<F::Device>>,
    before: Snapshot,
    device: &'a VfioDevice<F>,
}

impl<F: Flavour> Deref for State<'_, F> {
    type Target = Migratable<F::Device>;

    fn deref(&self) -> &Self::Target {
        &self.guard
    }
}

impl<F: Flavour> DerefMut for State<'_, F> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.guard
    }
}

impl<F: Flavour> Drop for State<'_, F> {
    fn drop(&mut self) {
        let engine = self.guard.engine();
        self.before.trace(self.device.host().as_ref(), engine);
        if self.before.session() != engine.session() {
            self.device.progress().notify_all();
        }
        if self.device.host().is_open() {
            self.device.limit_dirty_scope(engine.state());
        }
    }
}
