// SPDX-License-Identifier: GPL-2.0-only

//! Resets of a function on behalf of its user, by means of the PCI bus.
//!
//! The PCI core announces such a reset to the driver as it does one by others (`reset_prepare`,
//! `reset_done`), in the thread that resets. Others cannot reset the function meanwhile: the PCI
//! core locks the device. So [`Resets`] tells the driver's own resets by their thread.
//!
//! Locks: the state lock, which the caller holds, vfio-pci's `memory_lock`, and then the device's
//! lock, for which the PCI core only tries. A reset by others holds the device's lock and waits for
//! passes. No pass is under way here, since a pass holds the state lock.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use migration::engine::{
    Cause,
    HardwareReset, //
};

use super::{
    pins::current_thread,
    CoreDevice, //
};
use crate::{
    bindings,
    dev_warn_ratelimited,
    device::{
        vfio_ioctl,
        Host, //
    }, //
};

/// `VFIO_DEVICE_RESET` of the uAPI.
const VFIO_DEVICE_RESET: u32 = vfio_ioctl(11);

/// How a function is reset.
///
/// vfio-pci resets each function that can be reset when it is opened and after it is closed, and
/// others may reset it at any time. Whatever the driver chooses, [`Device::reset`] comes after such
/// a reset and scrubs what the reset has left. [`CoreDevice::was_function_reset`] tells it that
/// there was one.
///
/// A function can be reset if the PCI core has a method for it (`reset_method` in sysfs), such as a
/// function-level reset.
///
/// [`Device::reset`]: migration::device::Device::reset
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reset {
    /// The driver alone makes the device a fresh one.
    Own,
    /// The function is reset before each call of [`Device::reset`], but for the one when its user
    /// closes it, which vfio-pci's own reset follows.
    ///
    /// A function that cannot be reset cannot be opened (`ENOTTY`).
    ///
    /// [`Device::reset`]: migration::device::Device::reset
    FunctionLevel,
    /// The driver alone is enough for a load and after one that has failed. The user's
    /// `VFIO_DEVICE_RESET` resets the function first, if it can be reset.
    Both,
}

/// Resets of one function on behalf of its user. All zeroes: none.
///
/// Changes under the state lock, except for `happened`, which the thread that resets changes.
pub(super) struct Resets {
    /// The function can be reset, as its opening has found.
    works: Atomic<bool>,
    /// The thread that resets the function, 0 for none.
    thread: Atomic<usize>,
    /// The reset under way got as far as the function.
    happened: Atomic<bool>,
    /// The function was reset before the driver's reset that is under way or comes next.
    before_driver: Atomic<bool>,
}

impl Resets {
    /// Returns whether the reset that the PCI core announces is one of the driver's own, and notes
    /// that it has happened.
    pub(super) fn is_own(&self) -> bool {
        let is_own = self.thread.load(Relaxed) == current_thread();
        if is_own {
            self.happened.store(true, Relaxed);
        }
        is_own
    }

    /// Runs `reset` as the driver's own, and returns whether the PCI core has announced it.
    fn own<R>(&self, reset: impl FnOnce() -> R) -> (R, bool) {
        self.happened.store(false, Relaxed);
        self.thread.store(current_thread(), Relaxed);
        let result = reset();
        self.thread.store(0, Relaxed);
        (result, self.happened.load(Relaxed))
    }
}

impl CoreDevice {
    /// Returns whether the function was reset right before this call of [`Device::reset`]: by
    /// vfio-pci, by others, or for the driver ([`Reset`]).
    ///
    /// A user who has BARs of the function mapped may have used them since.
    ///
    /// [`Device::reset`]: migration::device::Device::reset
    pub fn was_function_reset(&self) -> bool {
        self.resets().before_driver.load(Relaxed)
    }

    /// Resets the function before the driver resets its device, if it has to be.
    pub(super) fn reset_before_driver(&self, how: Reset, cause: Cause) -> HardwareReset {
        let resets = self.resets();
        if cause == Cause::Open {
            // SAFETY: By the type invariant; vfio-pci has set the field when it enabled the device.
            let works = unsafe { (*self.as_raw()).reset_works() };
            resets.works.store(works, Relaxed);
        }
        let works = resets.works.load(Relaxed);
        let reset = match (cause, how) {
            (Cause::Open, Reset::FunctionLevel) if !works => {
                dev_warn_ratelimited!(self, "the driver needs a function that can be reset\n");
                HardwareReset::failed(ENOTTY)
            }
            (Cause::Open, _) if works => HardwareReset::DONE,
            (Cause::Others, _) => HardwareReset::DONE,
            (Cause::User, Reset::Both) if works => self.reset_function(),
            (Cause::User | Cause::Load, Reset::FunctionLevel) => self.reset_function(),
            _ => HardwareReset::NONE,
        };
        resets.before_driver.store(reset.done, Relaxed);
        reset
    }

    /// Resets the function as vfio-pci does for its user.
    ///
    /// `EAGAIN` if its device lock is taken, as while it is unbound; `EBUSY` if a reset by others
    /// does not end; `EIO` if it does not wake; `ENODEV` if no user has the device open; otherwise
    /// what the PCI core returns.
    fn reset_function(&self) -> HardwareReset {
        let ready = self.check_open().and_then(|()| {
            let awake = self.wake()?;
            self.wait_for_others()?;
            Ok(awake)
        });
        let _awake = match ready {
            Ok(awake) => awake,
            Err(error) => return HardwareReset::failed(error),
        };
        let (status, done) = self.resets().own(|| {
            // SAFETY: The device is open, and the ioctl has no argument. `memory_lock` is not held.
            unsafe { bindings::vfio_pci_core_ioctl(self.vdev(), VFIO_DEVICE_RESET, 0) }
        });
        let result = match c_int::try_from(status) {
            Ok(errno @ ..0) => Err(Error::from_errno(errno)),
            _ => Ok(()),
        };
        HardwareReset { done, result }
    }

    /// Waits for a reset by others and for a recovery from an error; `EBUSY` if it does not end.
    fn wait_for_others(&self) -> Result {
        // SAFETY: By the type invariant of `CoreDevice`.
        unsafe { bindings::rvfio_memory_lock(self.as_raw()) };
        // A pass begins once no reset is under way.
        let ready = self.passes().begin().map(drop);
        // SAFETY: As above; the lock was just taken.
        unsafe { bindings::rvfio_memory_unlock(self.as_raw()) };
        ready
    }
}

#[kernel::macros::kunit_tests(rvfio_resets)]
mod tests {
    use super::*;

    fn new() -> Resets {
        Resets {
            works: Atomic::new(false),
            thread: Atomic::new(0),
            happened: Atomic::new(false),
            before_driver: Atomic::new(false),
        }
    }

    #[test]
    fn a_reset_is_told_by_its_thread() {
        let resets = new();
        assert!(!resets.is_own());
        assert_eq!(resets.own(|| resets.is_own()), (true, true));
        // The PCI core did not get the device's lock.
        assert_eq!(resets.own(|| 5), (5, false));
        // Others reset the function meanwhile.
        let by_others = || {
            resets.thread.store(current_thread() + 1, Relaxed);
            resets.is_own()
        };
        assert_eq!(resets.own(by_others), (false, false));
        assert!(!resets.is_own());
    }
}
