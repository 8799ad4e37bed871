// SPDX-License-Identifier: GPL-2.0-only

//! The state lock of a device, and what is done whenever it is taken or given back.
//!
//! Whoever takes the lock catches up first with a reset by others: one that came under locks that
//! come after the state lock. A client's call holds a [`StateGuard`], which reports at its end what
//! the call has changed. Those who only look take the bare lock, see [`VfioDevice::peek`].

use core::ops::{
    Deref,
    DerefMut, //
};

use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        lock::mutex::MutexGuard, //
    }, //
};
use migration::{
    protocols::Migratable,
    state::State, //
};

use super::{
    trace::Snapshot,
    Flavour,
    Host,
    Moment,
    VfioDevice, //
};
use crate::{
    dev_warn_ratelimited,
    lock::lock_killable, //
};

/// The state of a device while its lock is held for a call of the client.
///
/// When it is dropped, it emits trace events for what the call has done, wakes those who wait for
/// the data file of a session that has ended, and sees to the container of an open device.
pub(crate) struct StateGuard<'a, F: Flavour> {
    guard: MutexGuard<'a, Migratable<F::Device>>,
    before: Snapshot,
    device: &'a VfioDevice<F>,
}

impl<F: Flavour> Deref for StateGuard<'_, F> {
    type Target = Migratable<F::Device>;

    fn deref(&self) -> &Self::Target {
        &self.guard
    }
}

impl<F: Flavour> DerefMut for StateGuard<'_, F> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.guard
    }
}

impl<F: Flavour> Drop for StateGuard<'_, F> {
    fn drop(&mut self) {
        let engine = self.guard.engine();
        self.before.trace(self.device.host().as_ref(), engine);
        if self.before.session() != engine.session() {
            self.device.progress().notify_all();
        }
        if self.device.host().is_open() {
            self.device.see_to_container(&mut self.guard, Moment::Call);
        }
    }
}

impl<F: Flavour> VfioDevice<F> {
    /// Takes the state lock for a call of the client; `EINTR` if the caller is killed while it
    /// waits.
    pub(crate) fn state(&self) -> Result<StateGuard<'_, F>> {
        Ok(self.observed(self.lock()?))
    }

    /// Takes the state lock for what must be done even if the caller is killed.
    pub(super) fn state_unkillable(&self) -> StateGuard<'_, F> {
        self.observed(self.caught_up(self.inner.state.lock()))
    }

    /// Takes the state lock for an access of the guest, which no trace event reports; `EINTR` if
    /// the caller is killed while it waits.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Migratable<F::Device>>> {
        let guard = lock_killable(&self.inner.state)?;
        Ok(self.caught_up(guard))
    }

    /// Takes the state lock to look at the state as it is, without catching up.
    pub(crate) fn peek(&self) -> MutexGuard<'_, Migratable<F::Device>> {
        self.inner.state.lock()
    }

    /// As [`Self::peek`]; `EINTR` if the caller is killed while it waits.
    pub(super) fn peek_killable(&self) -> Result<MutexGuard<'_, Migratable<F::Device>>> {
        lock_killable(&self.inner.state)
    }

    /// Does `work` under the state lock, and says in the kernel log if it has refused an image, and
    /// why.
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

    /// Notes that others have reset the function.
    ///
    /// Those who wait for a data file wake up, take the state lock and so catch up with the reset.
    pub(crate) fn was_reset(&self) {
        self.inner.reset_pending.store(true, Relaxed);
        self.progress().notify_all();
    }

    /// Makes a guard from the lock: what is done from here on is reported.
    fn observed<'a>(&'a self, guard: MutexGuard<'a, Migratable<F::Device>>) -> StateGuard<'a, F> {
        StateGuard {
            before: Snapshot::of(guard.engine()),
            device: self,
            guard,
        }
    }

    /// Catches up with a reset by others, if there was one.
    fn caught_up<'a>(
        &'a self,
        mut guard: MutexGuard<'a, Migratable<F::Device>>,
    ) -> MutexGuard<'a, Migratable<F::Device>> {
        // A data file's user may come here when nobody has the device open. The function may even
        // belong to another driver by then, or be gone, so there is nothing to catch up with.
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
        if let Err(error) = device.engine_mut().reset_by_others(self.host()) {
            dev_warn_ratelimited!(
                self.host(),
                "the device cannot be used after a reset by others: {:?}\n",
                error
            );
        }
        before.trace(self.host().as_ref(), device.engine());
        self.progress().notify_all();
    }

    /// Has the container of an open device count only what the device wrote, after an access of the
    /// guest or a call, and tells it of what the device has found.
    #[inline]
    pub(super) fn see_to_container(&self, device: &mut Migratable<F::Device>, moment: Moment) {
        if device.engine().is_telling() && self.host().is_time_to_tell() {
            device.engine_mut().tell_container(self.host());
        }
        if !device.engine().may_tell() {
            return;
        }
        self.host().limit_dirty_scope(moment);
        let state = device.engine().state();
        if moment == Moment::Call && !matches!(state, State::Running | State::Resuming) {
            // The client may be about to ask the container.
            self.host().tell_dirty_scope();
        }
    }
}
