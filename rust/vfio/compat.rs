// SPDX-License-Identifier: GPL-2.0-only

//! What differs between the kernel series that the modules are built for.
//!
//! Each difference is a directory of `compat` that is named after an item of the kernel crates and
//! holds two files: `present.rs` for trees that have the item, `absent.rs` for trees that lack it.
//! Both define the same for the rest of this crate. Kbuild compiles `present.rs` by itself against
//! the metadata of the tree in use, and sets `kernel_has` to the name if that succeeds; if not,
//! `absent.rs` must compile (`compat/probe.mk`). So the tree's version does not matter.
//!
//! As each file is compiled by itself, it uses nothing of this crate.

#[cfg_attr(kernel_has = "raw_try_init", path = "compat/raw_try_init/present.rs")]
#[cfg_attr(
    not(kernel_has = "raw_try_init"),
    path = "compat/raw_try_init/absent.rs"
)]
mod raw_try_init;

pub(crate) use self::raw_try_init::init_at;
