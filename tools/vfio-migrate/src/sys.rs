// SPDX-License-Identifier: GPL-2.0-only

//! System calls: the only module with `unsafe`.
//!
//! Each function is one call and returns its errno, which the callers judge.

#![expect(unsafe_code)]

mod access;
mod child;
mod event;
mod feature;
mod file;
mod host;
mod ioctl;
mod mapping;
mod signal;
mod stream;
mod torn;

pub use access::{open, open_nonblocking, pread, pread_all, pwrite, pwrite_all, read_available};
pub use child::{end_with_parent, memory_file, pidfd};
pub use event::{eventfd, eventfd_wait, wait};
pub use feature::{
    device_feature, dma_logging_report, precopy_info, set_mig_state, DmaReport, FeatureData, Moved,
};
pub use file::{file_system, name_file, open_to_write, stdout_was_closed, unnamed_file};
pub use host::{kernel_release, memory_lock_limit, monotonic, terminal_size};
pub use ioctl::{
    group_device, group_set_container, ioas_map, ioctl_bytes, ioctl_value, iommu_map, Request,
};
pub use mapping::{page_size, try_map, How, Mapping};
pub use signal::{before_signals_end, catch_interruptions, end_requests, interrupt};
pub use stream::{do_not_block, poll_within, pread_some, pwrite_some, read, seek, write, Polled};
pub use torn::Torn;
