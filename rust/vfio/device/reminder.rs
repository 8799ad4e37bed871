// SPDX-License-Identifier: GPL-2.0-only

//! Waking those who wait for a data file, a while later, to look again.
//!
//! When a device has done what it is at work on, the driver need not learn of it: the interrupt, if
//! there is one, is the guest's. So as long as somebody waits for that, somebody looks.

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

/// How long nobody looks.
const INTERVAL: Delta = Delta::from_millis(10);

/// Wakes those who wait for a data file, once for each time that it is asked to.
///
/// When it goes, it wakes nobody any more: the timer is off.
#[pin_data]
pub(super) struct Reminder {
    alarm: Arc<Alarm>,
    /// The timer, from when it was started first.
    #[pin]
    handle: Mutex<Option<ArcHrTimerHandle<Alarm>>>,
}

/// What the timer reaches.
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

    /// Notifies those who wait from now on, and others, soon.
    pub(super) fn set(&self) {
        let mut handle = self.handle.lock();
        // Not later for those who are to be woken already.
        if !self.alarm.is_set.xchg(true, Full) {
            // Its drop would stop the timer.
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
        // First: who comes too late to be notified sets it again.
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
