// SPDX-License-Identifier: GPL-2.0-only

//! Files with and without names, and the three that every program begins with.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, CWD};
use rustix::io::Errno;

/// Whether there was no standard output when the program began.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks at standard output before `main`: Rust's runtime opens /dev/null in the place of a
/// standard file that is closed, and nothing tells the two apart afterwards.
// SAFETY: the section holds pointers to functions that the C library calls before `main`, and this
// is one. It relies on nothing that is set up later: it makes two system calls and sets a flag.
#[used]
#[link_section = ".init_array"]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        let shown = |path| rustix::fs::lstat(path);
        if shown(c"/proc/self/fd").is_ok() && shown(c"/proc/self/fd/1").is_err() {
            STDOUT_WAS_CLOSED.store(true, Ordering::Relaxed);
        }
    }
    look
};

/// Returns whether the program was started without standard output.
pub fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

/// Opens a file for writing as a shell would, but leaves its content.
pub fn open_to_write(path: &Path) -> Result<OwnedFd, Errno> {
    // With `CREATE` the kernel applies its rules for files of others in directories such as /tmp.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
}

/// Makes a file without a name, for its owner only; `EOPNOTSUPP` if the file system has none.
pub fn unnamed_file(directory: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)
}

/// Gives an unnamed file a name; `EEXIST` if another file has it.
pub fn name_file(file: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, open, CWD, path, AtFlags::SYMLINK_FOLLOW)
}

/// The kernel's number for a type of file system: `f_type` of statfs(2).
pub fn file_system(path: &Path) -> Result<u64, Errno> {
    // CAST: the numbers have 32 bits, and the type is the machine's.
    Ok(rustix::fs::statfs(path)?.f_type as u64)
}
