// SPDX-License-Identifier: GPL-2.0-only

//! Bindings of what the kernel crate lacks, generated at build time against the tree in use.

#[allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unknown_lints,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
mod generated {
    // Items that are not listed for generation are the kernel crate's own.
    use kernel::{
        bindings::*,
        ffi, //
    };
    use pin_init::MaybeZeroable;

    include!(concat!(
        env!("RVFIO_OBJ"),
        "/rust/vfio/bindings_generated.rs"
    ));
}

pub(crate) use generated::*;
