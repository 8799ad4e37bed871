// SPDX-License-Identifier: GPL-2.0-only

//! What differs between the kernel series that the modules are built for.
//!
//! Each difference is a directory in `compat` named after an item of the kernel crates. It has two
//! files that define the same for the rest of this crate: `present.rs` for trees that have the item,
//! and `absent.rs` for those that have not. Kbuild compiles `present.rs` by itself against the
//! metadata of the tree in use, and sets `kernel_has` to the name if that succeeds; else `absent.rs`
//! must compile (`compat/probe.mk`). So a tree is asked what it has, and never for its version.
//!
//! Both files are crates of their own then: they use nothing of this crate.

#[cfg_attr(kernel_has = "raw_try_init", path = "compat/raw_try_init/present.rs")]
#[cfg_attr(
    not(kernel_has = "raw_try_init"),
    path = "compat/raw_try_init/absent.rs"
)]
mod raw_try_init;

pub(crate) use self::raw_try_init::init_at;
