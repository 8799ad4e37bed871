// SPDX-License-Identifier: GPL-2.0-only

//! Messages that a guest or a client can provoke at will.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use kernel::{
    bindings::{
        ___ratelimit,
        ratelimit_state, //
    },
    device::Device,
    fmt,
    prelude::*,
    types::Opaque, //
};

use crate::bindings;

/// How many messages a device may still cause: the kernel's default, 10 in 5 seconds.
///
/// Each device has its own, so that no guest can crowd out the messages about another's device.
#[pin_data]
pub(crate) struct Budget {
    #[pin]
    state: Opaque<ratelimit_state>,
}

// SAFETY: The state has a lock of its own, and belongs to no thread.
unsafe impl Send for Budget {}

// SAFETY: As above.
unsafe impl Sync for Budget {}

impl Budget {
    /// Returns an initialiser of a budget of which nothing was used.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The memory is valid for writes.
            state <- Opaque::ffi_init(|state| unsafe { bindings::rvfio_ratelimit_init(state) }),
        })
    }

    /// Returns how many messages were left out before this one; `None` if this one is left out.
    fn take(&self) -> Option<u32> {
        let state = self.state.get();
        // SAFETY: The state is initialised. The name is not used: the flag that `new` sets keeps
        // the function from printing anything.
        if unsafe { ___ratelimit(state, c"".as_char_ptr()) } == 0 {
            return None;
        }
        // SAFETY: The state is initialised.
        Some(unsafe { bindings::rvfio_ratelimit_reset_miss(state) })
    }

    /// Prints a message about `device`, unless the budget is used up. Says first how many messages
    /// were left out before it.
    pub(crate) fn print(&self, device: &Device, level: Level, message: fmt::Arguments<'_>) {
        let Some(left_out) = self.take() else {
            return;
        };
        if left_out > 0 {
            dev_warn!(device, "{} messages were left out\n", left_out);
        }
        match level {
            Level::Warning => dev_warn!(device, "{}", message),
            Level::Error => dev_err!(device, "{}", message),
        }
    }
}

/// How severe a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Something was refused, or failed and can be tried again.
    Warning,
    /// The device cannot be used.
    Error,
}

/// A device that has a budget of messages.
///
/// The device prints them itself. If a driver got the driver core's device of a mediated device, it
/// could keep a reference to it, which the mdev core does not survive: see
/// [`crate::mdev::Registration`].
pub trait Logs {
    /// Prints a message about the device, or counts it as left out: see [`dev_warn_ratelimited!`].
    ///
    /// [`dev_warn_ratelimited!`]: crate::dev_warn_ratelimited
    fn print(&self, level: Level, message: fmt::Arguments<'_>);
}

/// Prints a warning about a device that [`Logs`]; each device has a limit.
#[macro_export]
macro_rules! dev_warn_ratelimited {
    ($host:expr, $($f:tt)*) => {
        $crate::log::Logs::print(
            $host,
            $crate::log::Level::Warning,
            ::kernel::prelude::fmt!($($f)*),
        )
    };
}

/// Prints an error about a device that [`Logs`]; each device has a limit.
#[macro_export]
macro_rules! dev_err_ratelimited {
    ($host:expr, $($f:tt)*) => {
        $crate::log::Logs::print(
            $host,
            $crate::log::Level::Error,
            ::kernel::prelude::fmt!($($f)*),
        )
    };
}

#[kernel::macros::kunit_tests(rvfio_log)]
mod tests {
    use super::*;

    /// Messages in an interval.
    const BURST: u32 = 10;

    /// Makes the present interval one that has ended.
    fn end_interval(budget: &Budget) {
        let state = budget.state.get();
        // SAFETY: Nobody else uses the state.
        unsafe {
            let interval = (*state).interval as usize;
            (*state).begin = (*state).begin.wrapping_sub(interval + 1);
        }
    }

    #[test]
    fn a_burst_and_then_how_many_were_left_out() -> Result {
        let budget = KBox::pin_init(Budget::new(), GFP_KERNEL)?;
        for _ in 0..BURST {
            assert_eq!(budget.take(), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(budget.take(), None);
        }
        end_interval(&budget);
        assert_eq!(budget.take(), Some(3));
        end_interval(&budget);
        assert_eq!(budget.take(), Some(0));
        Ok(())
    }
}
