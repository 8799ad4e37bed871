// SPDX-License-Identifier: GPL-2.0-only

//! The data file of the v2 protocol: an image as a stream.
//!
//! The file may outlive the session, the open device and the binding. Its link to the device lasts
//! until the driver gives the device up. What the file may do with the device is decided under the
//! state lock, by the session's number.

use core::marker::PhantomData;

use kernel::{
    bindings::{
        file,
        file_operations,
        inode,
        loff_t,
        poll_table_struct,
        POLLERR,
        POLLIN,
        POLLOUT,
        POLLRDNORM,
        POLLWRNORM, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    module::this_module,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        poll::PollTable,
        static_lock_class,
        Arc,
        Mutex, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use migration::{
    protocols::v2::{
        self,
        Found,
        Readiness, //
    }, //
    state::State,
};

use super::{
    link::Link,
    reminder::Reminder,
    Flavour,
    Host,
    VfioDevice, //
};
use crate::{
    bindings,
    lock::{
        lock_killable,
        lock_name, //
    }, //
};

/// Which way the image goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    /// The user reads it.
    Save,
    /// The user writes it.
    Load,
}

/// The private data of an open data file.
#[pin_data]
struct DataFile<F: Flavour> {
    link: Arc<Link<F>>,
    session: u64,
    /// Wakes those who wait for the device's work.
    #[pin]
    reminder: Reminder,
    /// Serialises reads and writes. User memory is copied under this lock, and never under the
    /// state lock. Nobody waits for it with a lock that a page fault takes. A copy may take for
    /// ever, so whoever waits for this lock can be killed.
    #[pin]
    bounce: Mutex<KBox<[u8; PAGE_SIZE]>>,
}

impl<F: Flavour> VfioDevice<F> {
    /// Creates the data file of a session.
    ///
    /// `ENOMEM` without memory, `ENFILE` if the system has no more files. The file belongs to the
    /// caller.
    pub(super) fn data_file(&self, session: u64, direction: Direction) -> Result<OwnedFile> {
        let data: Pin<KBox<DataFile<F>>> = KBox::try_pin_init(
            try_pin_init!(DataFile {
                link: self.inner.link.clone(),
                session,
                reminder <- Reminder::new(self.inner.link.progress().clone()),
                bounce <- Mutex::new(
                    KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?,
                    lock_name!("rvfio_data"),
                    static_lock_class!()
                ),
            }),
            GFP_KERNEL,
        )?;
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

impl<F: Flavour> DataFile<F> {
    /// Calls `work`, which must not touch user memory, with the device; `ENODEV` if the device is
    /// gone.
    fn with<R>(&self, work: impl FnOnce(&VfioDevice<F>) -> Result<R>) -> Result<R> {
        self.link.with(work).unwrap_or(Err(ENODEV))
    }

    /// Copies up to `count` bytes of the image to the user; fewer if a signal comes meanwhile.
    fn read(&self, buf: UserPtr, count: usize) -> Result<usize> {
        let mut bounce = lock_killable(&self.bounce)?;
        let mut to = UserSlice::new(buf, count).writer();
        let mut moved = 0;
        while !to.is_empty() {
            let staged = self.with(|device| {
                let mut state = device.state()?;
                match v2::stage(state.engine_mut(), device.host(), self.session) {
                    Ok(Found::Bytes(bytes)) => {
                        let count = bytes.len().min(bounce.len()).min(to.len());
                        let from = bytes.get(..count).ok_or(EIO)?;
                        bounce.get_mut(..count).ok_or(EIO)?.copy_from_slice(from);
                        Ok(count)
                    }
                    Ok(Found::End) => Ok(0),
                    Ok(Found::NothingNow) => Err(ENOMSG),
                    Err(error) => Err(error),
                }
            });
            let result = match staged {
                Ok(0) => break,
                Ok(count) => to
                    .write_slice(bounce.get(..count).ok_or(EIO)?)
                    .and_then(|()| {
                        self.with(|device| {
                            v2::consume(
                                device.state()?.engine_mut(),
                                device.host(),
                                self.session,
                                count,
                            )
                        })?;
                        Ok(count)
                    }),
                Err(error) => Err(error),
            };
            match result {
                Ok(count) => moved += count,
                Err(error) if moved == 0 => return Err(error),
                Err(_) => break,
            }
            if kernel::current!().signal_pending() {
                break;
            }
        }
        Ok(moved)
    }

    /// Takes up to `count` bytes of the image from the user. It takes fewer if a signal comes
    /// meanwhile: each few kilobytes of an image can make the device work for 100 ms.
    ///
    /// If the image is refused, the call fails even if bytes were taken before, since the session
    /// ends with it. Memory that cannot be read and a signal do not end the session: the call
    /// returns how many bytes were taken, and the user can send the rest again.
    fn write(&self, buf: UserPtr, count: usize) -> Result<usize> {
        let mut bounce = lock_killable(&self.bounce)?;
        let mut from = UserSlice::new(buf, count).reader();
        let mut taken = 0;
        while !from.is_empty() {
            let part = from.len().min(bounce.len());
            let bytes = bounce.get_mut(..part).ok_or(EIO)?;
            match from.read_slice(bytes) {
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
            // One section at a time, so that others can take the state lock in between.
            let mut rest = &*bytes;
            while !rest.is_empty() {
                let result = self.with(|device| {
                    device.load(|state| {
                        v2::write(state.engine_mut(), device.host(), self.session, rest)
                    })
                });
                match result {
                    Ok(count) => {
                        taken += count;
                        rest = rest.get(count..).ok_or(EIO)?;
                    }
                    Err(EINTR | ERESTARTSYS) if taken > 0 => return Ok(taken),
                    Err(error) => return Err(error),
                }
                if kernel::current!().signal_pending() {
                    return Ok(taken);
                }
            }
        }
        Ok(taken)
    }

    /// Returns what the user can do without waiting, and has `table` woken when that may change.
    fn poll(&self, file: &File, table: &PollTable<'_>) -> u32 {
        table.register_wait(file, self.link.progress());
        let events = self.with(|device| {
            let state = device.state()?;
            let engine = state.engine();
            if engine.session() != Some(self.session) {
                return Err(ENODEV);
            }
            if engine.state() == State::Resuming {
                return Ok(POLLOUT | POLLWRNORM);
            }
            Ok(match v2::readiness(engine, device.host(), self.session) {
                Readiness::Now => POLLIN | POLLRDNORM,
                Readiness::Later => {
                    self.reminder.set();
                    0
                }
                Readiness::Nothing => 0,
            })
        });
        events.unwrap_or(POLLERR | POLLIN | POLLRDNORM)
    }

    /// `VFIO_MIG_GET_PRECOPY_INFO`, the only ioctl of the file.
    fn ioctl(&self, cmd: c_uint, arg: c_ulong) -> Result {
        // The check touches user memory, so it must not run under the link's lock.
        let mut flags_are_output = false;
        self.link.with(|device| {
            // SAFETY: The device is valid.
            flags_are_output = unsafe { bindings::rvfio_precopy_info_v2(device.host().vdev()) };
        });
        let mut info = bindings::vfio_precopy_info::default();
        // SAFETY: The function checks the user's arguments.
        to_result(unsafe {
            bindings::rvfio_check_precopy_ioctl(flags_are_output, cmd, arg, &mut info)
        })?;

        let left = self
            .link
            .with(|device| {
                let mut state = device.state()?;
                v2::precopy_info(state.engine_mut(), device.host(), self.session)
            })
            .unwrap_or(Err(EINVAL))?;
        info.initial_bytes = left.initial_bytes;
        info.dirty_bytes = left.dirty_bytes;
        // CAST: The fields lie one after the other, and all of them are plain numbers.
        // SAFETY: The structure is valid for reads of its size and has no padding.
        let bytes = unsafe {
            core::slice::from_raw_parts((&raw const info).cast::<u8>(), size_of_val(&info))
        };
        let size = PRECOPY_INFO_SIZE.min(bytes.len());
        UserSlice::new(UserPtr::from_addr(arg), size)
            .writer()
            .write_slice(bytes.get(..size).ok_or(EINVAL)?)
    }
}

/// Bytes of `struct vfio_precopy_info` up to and including `dirty_bytes`.
const PRECOPY_INFO_SIZE: usize =
    core::mem::offset_of!(bindings::vfio_precopy_info, dirty_bytes) + 8;

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
