// SPDX-License-Identifier: GPL-2.0-only

//! Wakes those who wait for a data file after a while, so that they look again.
//!
//! The driver need not learn when a device has finished its work: the interrupt, if there is one,
//! is the guest's. So as long as somebody waits for the work, a timer wakes them.

use kernel::{
    impl_has_hr_timer,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        poll::PollCondVar,
        static_lock_class,
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeSoftMode, //
        },
        Delta,
        Monotonic, //
    }, //
};

use crate::lock::lock_name;

/// Time until those who wait look again.
const INTERVAL: Delta = Delta::from_millis(10);

/// Wakes those who wait for a data file, once for each call of [`Self::set`].
///
/// Its drop stops the timer.
#[pin_data]
pub(super) struct Reminder {
    alarm: Arc<Alarm>,
    /// The timer, once it was started.
    #[pin]
    handle: Mutex<Option<ArcHrTimerHandle<Alarm>>>,
}

/// What the timer's callback uses.
#[pin_data]
struct Alarm {
    #[pin]
    timer: HrTimer<Self>,
    /// The timer is on.
    is_set: Atomic<bool>,
    /// What is notified.
    progress: Arc<PollCondVar>,
}

impl Reminder {
    /// Returns an initialiser of a reminder of those who wait for `progress`; `ENOMEM` without
    /// memory.
    pub(super) fn new(progress: Arc<PollCondVar>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            alarm: Arc::pin_init(
                pin_init!(Alarm {
                    timer <- HrTimer::new(),
                    is_set: Atomic::new(false),
                    progress,
                }),
                GFP_KERNEL
            )?,
            handle <- Mutex::new(None, lock_name!("rvfio_reminder"), static_lock_class!()),
        })
    }

    /// Starts the timer, which notifies those who wait, unless it is on.
    pub(super) fn set(&self) {
        let mut handle = self.handle.lock();
        // A timer that is on is not put off: others wait for it.
        if !self.alarm.is_set.xchg(true, Full) {
            // The drop of the old handle stops the timer, so it comes before the start.
            handle.take();
            *handle = Some(self.alarm.clone().start(INTERVAL));
        }
    }
}

impl HrTimerCallback for Alarm {
    type Pointer<'a> = Arc<Self>;

    fn run(
        this: ArcBorrow<'_, Self>,
        _context: HrTimerCallbackContext<'_, Self>,
    ) -> HrTimerRestart {
        // Cleared first: whoever comes too late to be notified starts the timer again.
        let _ = this.is_set.xchg(false, Full);
        this.progress.notify_all();
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Alarm {
        mode: RelativeSoftMode<Monotonic>, field: self.timer
    }
}
