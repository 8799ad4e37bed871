// SPDX-License-Identifier: GPL-2.0-only

//! Files in debugfs that keep the module of their operations loaded while they are open.
//!
//! The kernel crate's files do not: the module could be unloaded while a user has one open, and
//! closing it would call code that is gone.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use core::marker::PhantomData;

use kernel::{
    bindings::{
        dentry,
        file,
        file_operations,
        inode,
        seq_file,
        seq_lseek,
        seq_read,
        single_open,
        single_release, //
    },
    fmt,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc,
    ModuleMetadata, //
};

use crate::bindings;

/// A directory or a file; its drop removes it, with all that is in it.
///
/// # Invariants
///
/// `dentry` is an owned entry of debugfs, or an error pointer, which debugfs ignores.
struct Entry {
    dentry: *mut dentry,
    /// Dropped after this entry was removed.
    _parent: Option<Arc<Entry>>,
}

// SAFETY: An entry may be used and removed from any thread.
unsafe impl Send for Entry {}

// SAFETY: As above.
unsafe impl Sync for Entry {}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: The entry is owned by the type invariant. The call waits for operations of a file
        // that run.
        unsafe { bindings::rvfio_debugfs_remove(self.dentry) };
    }
}

/// A directory.
#[derive(Clone)]
pub(crate) struct Directory(Arc<Entry>);

impl Directory {
    /// Makes a directory at the top of debugfs.
    ///
    /// `ENOMEM` without memory for the object; a failure of debugfs itself is no error.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        Self::within(None, name)
    }

    /// Makes a directory in this one; errors are those of [`Self::new`].
    pub(crate) fn subdirectory(&self, name: &CStr) -> Result<Self> {
        Self::within(Some(self.0.clone()), name)
    }

    fn within(parent: Option<Arc<Entry>>, name: &CStr) -> Result<Self> {
        let above = parent
            .as_ref()
            .map_or(core::ptr::null_mut(), |entry| entry.dentry);
        // SAFETY: The name is a C string, and the parent an entry or none.
        let dentry = unsafe { bindings::rvfio_debugfs_directory(name.as_char_ptr(), above) };
        // INVARIANT: The entry was just made. It is removed if there is no memory.
        let entry = Entry {
            dentry,
            _parent: parent,
        };
        Ok(Self(Arc::new(entry, GFP_KERNEL)?))
    }
}

/// What a file shows.
pub(crate) trait Show: Send + Sync {
    /// The module that this code is in.
    type OwnerModule: ModuleMetadata;

    /// Writes the text, each time that the file is read from its beginning.
    fn show(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A file, for root to read.
pub(crate) struct File<T: Show> {
    /// Dropped first, as the first field.
    _entry: Entry,
    _data: Pin<KBox<T>>,
}

impl<T: Show> File<T> {
    /// Makes a file in a directory; errors are those of [`Directory::new`].
    pub(crate) fn new(directory: &Directory, name: &CStr, data: T) -> Result<Self> {
        let data = KBox::pin(data, GFP_KERNEL)?;
        // SAFETY: The data are pinned, and dropped after the entry, whose removal waits for those
        // who use them. The operations are static, and take data of this type.
        let dentry = unsafe {
            bindings::rvfio_debugfs_file(
                name.as_char_ptr(),
                directory.0.dentry,
                (&raw const *data).cast_mut().cast(),
                &FileOps::<T>::OPS,
            )
        };
        Ok(Self {
            // INVARIANT: The entry was just made.
            _entry: Entry {
                dentry,
                _parent: Some(directory.0.clone()),
            },
            _data: data,
        })
    }
}

/// The operations of a file that shows a `T`.
struct FileOps<T: Show>(PhantomData<T>);

impl<T: Show> FileOps<T> {
    const OPS: file_operations = {
        let mut ops: file_operations = pin_init::zeroed();
        ops.owner = this_module::<T::OwnerModule>().as_ptr();
        ops.open = Some(Self::open);
        ops.read = Some(seq_read);
        ops.llseek = Some(seq_lseek);
        ops.release = Some(single_release);
        ops
    };

    /// # Safety
    ///
    /// Called by debugfs with the inode of a file made with these operations, which is not removed
    /// meanwhile.
    unsafe extern "C" fn open(inode: *mut inode, file: *mut file) -> c_int {
        // SAFETY: The caller vouches for both; the data are what `show` expects.
        unsafe { single_open(file, Some(Self::show), (*inode).i_private) }
    }

    /// # Safety
    ///
    /// Called for reads of a file that `open` opened and that is not removed meanwhile.
    unsafe extern "C" fn show(seq: *mut seq_file, _: *mut c_void) -> c_int {
        // SAFETY: `seq` is valid, and nobody else uses it; its data are the `T` of the file, which
        // stays until the file is removed.
        let (to, data) = unsafe { (SeqFile::from_raw(seq), &*(*seq).private.cast::<T>()) };
        seq_print!(to, "{}", Shown(data));
        0
    }
}

/// The text of a file.
struct Shown<'a, T: Show>(&'a T);

impl<T: Show> fmt::Display for Shown<'_, T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(to)
    }
}
