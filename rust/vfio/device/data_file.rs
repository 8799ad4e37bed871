// SPDX-License-Identifier: GPL-2.0-only

//! The data file of the v2 protocol: an image as a stream.
//!
//! The file may outlive the session, the open device and the binding. Its link to the device lasts
//! until the driver gives the device up. What the file may do with the device is decided under the
//! state lock, by the session's number.

use kernel::{
    bindings::{
        POLLERR,
        POLLIN,
        POLLOUT,
        POLLRDNORM,
        POLLWRNORM, //
    },
    error::to_result,
    fs::File,
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
        Found,
        Readiness, //
    },
    state::State, //
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

/// The private data of an open data file.
#[pin_data]
pub(super) struct DataFile<F: Flavour> {
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

impl<F: Flavour> DataFile<F> {
    /// Returns an initialiser of the private data of a session's file; `ENOMEM` without memory.
    pub(super) fn new(link: &Arc<Link<F>>, session: u64) -> impl PinInit<Self, Error> {
        let (link, progress) = (link.clone(), link.progress().clone());
        try_pin_init!(Self {
            link,
            session,
            reminder <- Reminder::new(progress),
            bounce <- Mutex::new(
                KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?,
                lock_name!("rvfio_data"),
                static_lock_class!()
            ),
        })
    }

    /// Calls `work`, which must not touch user memory, with the device; `ENODEV` if the device is
    /// gone.
    fn with<R>(&self, work: impl FnOnce(&VfioDevice<F>) -> Result<R>) -> Result<R> {
        self.link.with(work).unwrap_or(Err(ENODEV))
    }

    /// Copies up to `count` bytes of the image to the user; fewer if a signal comes meanwhile.
    pub(super) fn read(&self, buf: UserPtr, count: usize) -> Result<usize> {
        let mut bounce = lock_killable(&self.bounce)?;
        let mut to = UserSlice::new(buf, count).writer();
        let mut moved = 0;
        while !to.is_empty() {
            let staged = self.with(|device| {
                let mut state = device.state()?;
                let (v2, engine) = state.v2();
                match v2.stage(engine, device.host(), self.session) {
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
                            let mut state = device.state()?;
                            let (v2, engine) = state.v2();
                            v2.consume(engine, device.host(), self.session, count)
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
    pub(super) fn write(&self, buf: UserPtr, count: usize) -> Result<usize> {
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
                        let (v2, engine) = state.v2();
                        v2.write(engine, device.host(), self.session, rest)
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
    pub(super) fn poll(&self, file: &File, table: &PollTable<'_>) -> u32 {
        table.register_wait(file, self.link.progress());
        let events = self.with(|device| {
            let mut state = device.state()?;
            let (v2, engine) = state.v2();
            if engine.session() != Some(self.session) {
                return Err(ENODEV);
            }
            if engine.state() == State::Resuming {
                return Ok(POLLOUT | POLLWRNORM);
            }
            Ok(match v2.readiness(engine, device.host(), self.session) {
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
    pub(super) fn ioctl(&self, cmd: c_uint, arg: c_ulong) -> Result {
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
                let (v2, engine) = state.v2();
                v2.precopy_info(engine, device.host(), self.session)
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
