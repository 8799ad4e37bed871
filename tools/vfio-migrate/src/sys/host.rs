// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel and the terminal tell of themselves.

use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The time since the boot, without the time asleep: the trace clock "mono".
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// Columns and rows of a terminal; `None` if it is no terminal or does not know them.
pub fn terminal_size(terminal: BorrowedFd<'_>) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Bytes that the process may lock in memory; `None` if there is no limit.
pub fn memory_lock_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Memlock).current
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}
