// SPDX-License-Identifier: GPL-2.0-only

//! Child processes, and what ties them to this program.

use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, Signal};

/// A file that becomes readable when a child has ended with all its threads.
pub fn pidfd(child: &Child) -> Result<OwnedFd, Errno> {
    process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())
}

/// Makes a file in memory, to be handed to children.
pub fn memory_file() -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create(c"vfio-migrate", MemfdFlags::CLOEXEC)
}

/// Makes the kernel kill this process when its parent ends.
pub fn end_with_parent() -> Result<(), Errno> {
    process::set_parent_process_death_signal(Some(Signal::KILL))
}
