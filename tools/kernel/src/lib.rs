// SPDX-License-Identifier: GPL-2.0-only

//! The part of the Linux kernel crate that the pure core uses, over the standard library.
//!
//! Names and signatures are those of `rust/kernel` in the kernel source, so that the core's files
//! compile unchanged in the kernel and on the host. [`alloc::fail_after`] makes an allocation fail
//! on purpose.

#![forbid(unsafe_code)]

pub mod alloc;
pub mod error;
mod zeroable;

/// What kernel code imports by `use kernel::prelude::*`.
pub mod prelude {
    pub use core::mem::{
        align_of,
        size_of, //
    };

    pub use crate::alloc::{
        flags::*,
        Box,
        KBox,
        KVBox,
        KVVec,
        KVec,
        Vec, //
    };
    pub use crate::error::{
        code::*,
        Error,
        Result, //
    };
    pub use crate::zeroable::Zeroable;
}
