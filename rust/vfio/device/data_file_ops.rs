// SPDX-License-Identifier: GPL-2.0-only

//! The data file of the v2 protocol as the kernel has it: its creation and its file operations.

use core::marker::PhantomData;

use kernel::{
    bindings::{
        file,
        file_operations,
        inode,
        loff_t,
        poll_table_struct, //
    },
    error::from_err_ptr,
    fs::File,
    module::this_module,
    prelude::*,
    sync::poll::PollTable,
    uaccess::UserPtr, //
};

use super::{
    data_file::DataFile,
    Flavour,
    VfioDevice, //
};
use crate::bindings;

/// Which way the image goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    /// The user reads it.
    Save,
    /// The user writes it.
    Load,
}

impl<F: Flavour> VfioDevice<F> {
    /// Creates the data file of a session.
    ///
    /// `ENOMEM` without memory, `ENFILE` if the system has no more files. The file belongs to the
    /// caller.
    pub(super) fn data_file(&self, session: u64, direction: Direction) -> Result<OwnedFile> {
        let data = KBox::try_pin_init(DataFile::new(&self.inner.link, session), GFP_KERNEL)?;
        let flags = match direction {
            Direction::Save => kernel::bindings::O_RDONLY,
            Direction::Load => kernel::bindings::O_WRONLY,
        };
        // SAFETY: The operations are static, and their owner is the module that this code is in.
        let file = from_err_ptr(unsafe {
            bindings::rvfio_stream_file(
                c"rvfio-migration".as_char_ptr(),
                &FileOps::<F>::OPS,
                (&raw const *data).cast_mut().cast(),
                // CAST: The flags are small.
                flags as c_int,
            )
        })?;
        // The file's release operation takes it back.
        // SAFETY: The box stays pinned.
        let _ = KBox::into_raw(unsafe { Pin::into_inner_unchecked(data) });
        Ok(OwnedFile(file))
    }
}

/// A file that nobody else knows yet.
///
/// # Invariants
///
/// The pointer owns a reference to a file.
pub(super) struct OwnedFile(*mut file);

impl OwnedFile {
    /// Gives the reference away.
    pub(super) fn into_raw(self) -> *mut file {
        let file = self.0;
        core::mem::forget(self);
        file
    }
}

impl Drop for OwnedFile {
    fn drop(&mut self) {
        // SAFETY: The reference is owned by the type invariant. fput() has the release operation
        // run later, when the task returns to user space, so without the locks that are held now.
        unsafe { kernel::bindings::fput(self.0) };
    }
}

/// The operations of a data file.
struct FileOps<F>(PhantomData<F>);

impl<F: Flavour> FileOps<F> {
    /// What the kernel calls on a data file.
    const OPS: file_operations = {
        let mut ops: file_operations = pin_init::zeroed();
        ops.owner = this_module::<F::OwnerModule>().as_ptr();
        ops.read = Some(Self::read);
        ops.write = Some(Self::write);
        ops.poll = Some(Self::poll);
        ops.unlocked_ioctl = Some(Self::ioctl);
        ops.compat_ioctl = kernel::bindings::compat_ptr_ioctl;
        ops.release = Some(Self::release);
        ops
    };

    /// Borrows the private data of a file.
    ///
    /// # Safety
    ///
    /// `file` must be an open data file of this driver.
    unsafe fn data<'a>(file: *mut file) -> &'a DataFile<F> {
        // SAFETY: The file's private data was set to a `DataFile<F>` when the file was made, and is
        // valid until its release.
        unsafe { &*(*file).private_data.cast() }
    }

    /// # Safety
    ///
    /// Called by the kernel with an open data file.
    unsafe extern "C" fn read(
        file: *mut file,
        buf: *mut c_char,
        count: usize,
        _ppos: *mut loff_t,
    ) -> isize {
        // SAFETY: The caller vouches for the file.
        result(unsafe { Self::data(file) }.read(UserPtr::from_ptr(buf.cast()), count))
    }

    /// # Safety
    ///
    /// Called by the kernel with an open data file.
    unsafe extern "C" fn write(
        file: *mut file,
        buf: *const c_char,
        count: usize,
        _ppos: *mut loff_t,
    ) -> isize {
        let buf = UserPtr::from_ptr(buf.cast_mut().cast());
        // SAFETY: The caller vouches for the file.
        result(unsafe { Self::data(file) }.write(buf, count))
    }

    /// # Safety
    ///
    /// Called by the kernel with an open data file.
    unsafe extern "C" fn poll(file: *mut file, table: *mut poll_table_struct) -> c_uint {
        // SAFETY: The file and the table are valid for the call.
        let (this, file, table) = unsafe {
            (
                Self::data(file),
                File::from_raw_file(file),
                PollTable::from_raw(table),
            )
        };
        this.poll(file, &table)
    }

    /// # Safety
    ///
    /// Called by the kernel with an open data file.
    unsafe extern "C" fn ioctl(file: *mut file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The caller vouches for the file.
        result(unsafe { Self::data(file) }.ioctl(cmd, arg).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel once, with a data file that nobody uses any more.
    unsafe extern "C" fn release(_inode: *mut inode, file: *mut file) -> c_int {
        // SAFETY: The file has owned the box, which was pinned, since it was made.
        drop(unsafe {
            Pin::new_unchecked(KBox::from_raw((*file).private_data.cast::<DataFile<F>>()))
        });
        0
    }
}

/// Returns what a file operation returns.
fn result(result: Result<usize>) -> isize {
    match result {
        // CAST: A call moves at most `MAX_RW_COUNT` bytes, less than `i32::MAX`.
        Ok(moved) => moved as isize,
        // CAST: An errno fits any signed integer.
        Err(error) => error.to_errno() as isize,
    }
}
