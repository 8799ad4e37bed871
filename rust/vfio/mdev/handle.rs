// SPDX-License-Identifier: GPL-2.0-only

//! Handles of a virtual device, for threads of the driver's own.
//!
//! A thread must not keep the device itself: when it is removed, its `struct mdev_device` is freed,
//! and when it is closed, its user's container is gone. So a handle leads to the device only as
//! long as the user who had it open when the handle was made still has it open. Closing waits for
//! those who are with the device.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::{
        new_condvar,
        new_mutex,
        Arc,
        CondVar,
        Mutex, //
    }, //
};

use super::VirtualDevice;

/// A device that a user has open.
///
/// # Invariants
///
/// The device is valid as long as this is in a [`State`], and after that until nobody is inside.
struct Pointer(NonNull<VirtualDevice>);

// SAFETY: The device may be used from any thread.
unsafe impl Send for Pointer {}

/// Whether a user has the device open, and how many threads are with it.
#[derive(Default)]
struct State {
    /// The device while a user has it open.
    device: Option<Pointer>,
    /// How many users have opened the device: the number of the present user, if there is one.
    user: u64,
    /// The number of calls of [`Handle::with`] that run.
    inside: u32,
}

/// What a device and its handles share.
#[pin_data]
pub(super) struct Handles {
    /// No other lock is taken under this one.
    #[pin]
    state: Mutex<State>,
    /// Notified when the last one inside leaves.
    #[pin]
    left: CondVar,
}

impl Handles {
    /// Returns what a closed device will share with its handles; `ENOMEM` without memory.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(State::default(), "rvfio_handles"),
                left <- new_condvar!("rvfio_handles_left"),
            }),
            GFP_KERNEL,
        )
    }

    /// A user opens the device.
    ///
    /// # Safety
    ///
    /// The device must be valid, and have its container, until [`Self::wait`] has returned after
    /// [`Self::close`].
    pub(super) unsafe fn open(&self, device: &VirtualDevice) {
        let mut state = self.state.lock();
        // INVARIANT: The caller vouches for the device.
        state.device = Some(Pointer(device.into()));
        // No overflow: the number has 64 bits.
        state.user += 1;
    }

    /// The user closes the device: no handle leads to it any more.
    pub(super) fn close(&self) {
        self.state.lock().device = None;
    }

    /// Waits for those who are with the device.
    pub(super) fn wait(&self) {
        let mut state = self.state.lock();
        while state.inside > 0 {
            self.left.wait(&mut state);
        }
    }

    /// Returns whether a user has the device open.
    pub(super) fn is_open(&self) -> bool {
        self.state.lock().device.is_some()
    }

    /// Returns a handle for the present user's time with the device; without a user, it leads
    /// nowhere.
    pub(super) fn handle(this: &Arc<Self>) -> Handle {
        let state = this.state.lock();
        Handle {
            user: state.device.as_ref().map(|_| state.user),
            handles: this.clone(),
        }
    }
}

/// A way to a virtual device that ends when its user closes it.
///
/// For code that works for the device in a thread of its own. It may be kept for any time: it does
/// not lead to the device of the next user, and it keeps nothing but its own memory.
#[derive(Clone)]
pub struct Handle {
    handles: Arc<Handles>,
    /// The number of the user; none if the device was closed when the handle was made.
    user: Option<u64>,
}

impl Handle {
    /// Calls `work` with the device; `None`, without the call, if the user has closed the device.
    ///
    /// May be called from any thread that may sleep. Closing the device waits for `work`, so `work`
    /// must not wait for the close. A copy of the user's memory in it is called off then.
    pub fn with<R>(&self, work: impl FnOnce(&VirtualDevice) -> R) -> Option<R> {
        let mut state = self.handles.state.lock();
        let device = match &state.device {
            Some(Pointer(device)) if self.user == Some(state.user) => *device,
            _ => return None,
        };
        // No overflow: there are fewer threads.
        state.inside += 1;
        drop(state);

        // SAFETY: The device is valid by the type invariant of `Pointer`, since this call is
        // inside.
        let result = work(unsafe { device.as_ref() });

        let mut state = self.handles.state.lock();
        state.inside -= 1;
        let left = state.inside == 0;
        drop(state);
        if left {
            self.handles.left.notify_all();
        }
        Some(result)
    }
}
