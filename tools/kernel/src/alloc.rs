// SPDX-License-Identifier: GPL-2.0-only

//! Allocations that take flags and may fail.

use std::{
    cell::Cell,
    marker::PhantomData, //
};

mod kbox;
mod kvec;

pub use kbox::Box;
pub use kvec::{
    InsertError,
    PushError,
    RemoveError,
    Vec, //
};

/// Indicates an allocation error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

/// Flags to be used when allocating memory; none of them means anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(());

/// Allocation flags.
pub mod flags {
    use super::Flags;

    /// A normal allocation that may sleep.
    pub const GFP_KERNEL: Flags = Flags(());
    /// A normal allocation that is charged to the user.
    pub const GFP_KERNEL_ACCOUNT: Flags = Flags(());
    /// An allocation that must not sleep.
    pub const GFP_ATOMIC: Flags = Flags(());
}

/// Names the allocator of contiguous memory.
#[derive(Debug)]
pub struct Kmalloc(PhantomData<()>);

/// Names the allocator that falls back to memory that is contiguous in virtual addresses only.
#[derive(Debug)]
pub struct KVmalloc(PhantomData<()>);

/// A [`Vec`] of contiguous memory.
pub type KVec<T> = Vec<T, Kmalloc>;
/// A [`Vec`] of virtually contiguous memory.
pub type KVVec<T> = Vec<T, KVmalloc>;
/// A [`Box`] of contiguous memory.
pub type KBox<T> = Box<T, Kmalloc>;
/// A [`Box`] of virtually contiguous memory.
pub type KVBox<T> = Box<T, KVmalloc>;

thread_local! {
    /// Allocations of this thread that succeed before one fails.
    static COUNTDOWN: Cell<Option<u64>> = const { Cell::new(None) };
    /// Whether every allocation after the failing one fails too.
    static STICKY: Cell<bool> = const { Cell::new(false) };
    /// Allocations of this thread so far.
    static TOTAL: Cell<u64> = const { Cell::new(0) };
}

/// Makes one allocation of this thread fail, after `successes` ones that succeed.
pub fn fail_after(successes: u64) {
    COUNTDOWN.set(Some(successes));
    STICKY.set(false);
}

/// Makes every allocation of this thread fail, after `successes` ones that succeed.
pub fn fail_from(successes: u64) {
    COUNTDOWN.set(Some(successes));
    STICKY.set(true);
}

/// Lets allocations succeed again; returns whether the switch was still armed and unused.
pub fn succeed() -> bool {
    COUNTDOWN.take().is_some() && !STICKY.take()
}

/// Returns how many allocations this thread has tried.
pub fn total() -> u64 {
    TOTAL.get()
}

/// Asks whether an allocation may succeed.
fn permit() -> Result<(), AllocError> {
    TOTAL.set(TOTAL.get() + 1);
    match COUNTDOWN.get() {
        None => Ok(()),
        Some(0) => {
            if !STICKY.get() {
                COUNTDOWN.set(None);
            }
            Err(AllocError)
        }
        Some(left) => {
            COUNTDOWN.set(Some(left - 1));
            Ok(())
        }
    }
}
