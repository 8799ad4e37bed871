// SPDX-License-Identifier: GPL-2.0-only

//! The driver's reads of the user's memory, at the addresses that the device uses.
//!
//! A driver that has to know what the device will do, such as which buffers a ring of descriptors
//! names, reads it where the device does.
//!
//! - If a container has the device, type1 reads (`vfio_dma_rw()`): it looks the address up among
//!   the mappings and copies from the process's memory, with the container's lock held. So a
//!   mapping cannot end meanwhile. The read pins nothing and marks nothing as dirty.
//! - If an iommufd has it, the device has an *access* of its own beside it, which is attached to
//!   the same address space (`rust/vfio/pci/iommufd.c`), and iommufd reads likewise. The user may
//!   attach the device to page tables that it has made itself (`IOMMU_HWPT_ALLOC`). Nothing that is
//!   exported tells which address space belongs to them, so there the memory cannot be read.
//!   Translating the address by the domain (`iommu_iova_to_phys()`) is no way out: page tables may
//!   be freed during the walk, and the page after it.
//!
//! Locks: the caller has the state lock. A read takes the container's lock, or the access's and the
//! address space's, and then the locks of a page fault. Each of these is taken elsewhere while an
//! address space is being pinned, which may take seconds. Whoever pins waits for page faults, and
//! no page fault waits for the state lock. Nor may one wait for `memory_lock`, which faults on the
//! BAR take, while the caller holds it: hence the check for [`Registers`](super::Registers). If the
//! user has put memory there whose faults are served by a process of its own, the read waits for
//! that process, until it serves the fault or the caller is killed.

use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};

use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};
use migration::iova::IovaRange;

use super::CoreDevice;
use crate::{
    bindings,
    dev_warn_ratelimited,
    device::Host, //
};

/// The most bytes in one read: the state lock is held meanwhile.
const MOST: usize = 64 << 10;

/// A device's access to the address space that an iommufd has attached it to. All zeroes: none.
///
/// # Invariants
///
/// `raw` is null or an access, which [`Self::destroy`] destroys. It changes only while no user has
/// the device open.
pub(super) struct Access {
    raw: UnsafeCell<*mut bindings::iommufd_access>,
    /// The access is attached. Changes under the VFIO core's lock of the device set.
    is_attached: Atomic<bool>,
}

impl Access {
    /// Returns the access, if an iommufd has the device.
    ///
    /// # Safety
    ///
    /// A user must have the device open, or the caller must be in an operation of the device that
    /// the VFIO core calls with the lock of the device set held.
    unsafe fn get(&self) -> Option<NonNull<bindings::iommufd_access>> {
        // SAFETY: The caller vouches that nobody changes it.
        NonNull::new(unsafe { *self.raw.get() })
    }

    /// Makes the access, attached to nothing; `ENOMEM` without memory.
    ///
    /// # Safety
    ///
    /// To be called when an iommufd binds the device; `ictx` must be that iommufd's.
    #[cfg(CONFIG_IOMMUFD)]
    pub(super) unsafe fn create(&self, ictx: *mut kernel::bindings::iommufd_ctx) -> Result {
        // SAFETY: The caller vouches for the iommufd.
        let raw = kernel::error::from_err_ptr(unsafe { bindings::rvfio_access_create(ictx) })?;
        // INVARIANT: The access was just made.
        // SAFETY: The caller vouches that no user has the device open.
        unsafe { *self.raw.get() = raw };
        self.is_attached.store(false, Relaxed);
        Ok(())
    }

    /// Destroys the access.
    ///
    /// # Safety
    ///
    /// To be called when an iommufd gives the device up.
    #[cfg(CONFIG_IOMMUFD)]
    pub(super) unsafe fn destroy(&self) {
        self.is_attached.store(false, Relaxed);
        // INVARIANT: There is none any more.
        // SAFETY: The caller vouches that no user has the device open.
        let raw = unsafe { core::mem::replace(&mut *self.raw.get(), core::ptr::null_mut()) };
        if !raw.is_null() {
            // SAFETY: By the type invariant, and nobody uses it.
            unsafe { bindings::rvfio_access_destroy(raw) };
        }
    }

    /// Attaches the access to what the device was just attached to, in place of what it was
    /// attached to before.
    ///
    /// If that is no address space, the access is attached to nothing.
    ///
    /// # Safety
    ///
    /// As for [`Self::get`], in the operation `attach_ioas`.
    #[cfg(CONFIG_IOMMUFD)]
    pub(super) unsafe fn attach(&self, id: u32) {
        // SAFETY: As for this function.
        unsafe { self.detach() };
        // SAFETY: As above.
        let Some(raw) = (unsafe { self.get() }) else {
            return;
        };
        // SAFETY: By the type invariant; it is attached to nothing.
        let result = to_result(unsafe { bindings::rvfio_access_attach(raw.as_ptr(), id) });
        self.is_attached.store(result.is_ok(), Relaxed);
    }

    /// Detaches the access, if it is attached.
    ///
    /// # Safety
    ///
    /// As for [`Self::get`], in the operation `attach_ioas` or `detach_ioas`.
    #[cfg(CONFIG_IOMMUFD)]
    pub(super) unsafe fn detach(&self) {
        // SAFETY: As for this function.
        let raw = unsafe { self.get() };
        if let Some(raw) = raw.filter(|_| self.is_attached.xchg(false, Relaxed)) {
            // SAFETY: By the type invariant; it is attached.
            unsafe { bindings::rvfio_access_detach(raw.as_ptr()) };
        }
    }
}

impl CoreDevice {
    /// Copies the user's memory at the device's address `iova` to `to`.
    ///
    /// The device or the guest may write the memory meanwhile, so the copy may hold old and new
    /// bytes. On an error any part of `to` may have been written.
    ///
    /// `EINVAL` if some of the memory is not mapped for the device or the range wraps around,
    /// `EPERM` if the device may not read it or another process has mapped it, `EFAULT` if the
    /// process no longer has it, `E2BIG` for more than 64 KiB, `ENODEV` if no user has the device
    /// open, `EBUSY` while the caller has [`Registers`](super::Registers) or the user exchanges the
    /// memory behind its mappings (`VFIO_DMA_UNMAP_FLAG_VADDR`), `EOPNOTSUPP` if memory cannot be
    /// read at all, see [`CoreDevice::check_memory`].
    pub fn read_memory(&self, iova: u64, to: &mut [u8]) -> Result {
        self.check_open()?;
        if to.is_empty() {
            return Ok(());
        }
        if to.len() > MOST {
            return Err(E2BIG);
        }
        // CAST: Widening.
        IovaRange::new(iova, to.len() as u64)?;
        if self.passes().is_passing() {
            return Err(EBUSY);
        }
        if self.is_of_iommufd() {
            // SAFETY: The device is open.
            let access = unsafe { self.access().get() }.ok_or(EOPNOTSUPP)?;
            // SAFETY: The access lives as long as the device is bound to the iommufd, which it is
            // while it is open. `to` is valid for writes of its length.
            return match to_result(unsafe {
                bindings::rvfio_access_read(
                    access.as_ptr(),
                    usize::try_from(iova)?,
                    to.as_mut_ptr().cast(),
                    to.len(),
                )
            }) {
                Err(ENOENT) if self.check_attached().is_err() => Err(EOPNOTSUPP),
                // As type1 says it.
                Err(ENOENT) => Err(EINVAL),
                result => result,
            };
        }
        // SAFETY: The device is open, and `to` is valid for writes of its length.
        to_result(unsafe {
            bindings::vfio_dma_rw(self.vdev(), iova, to.as_mut_ptr().cast(), to.len(), false)
        })
    }

    /// Checks that the user's memory can be read: `EOPNOTSUPP`, with a message in the kernel log,
    /// if it cannot, `ENODEV` if no user has the device open.
    ///
    /// To be called before a migration begins ([`Device::track_begin`] or [`Device::save_begin`])
    /// by a driver that needs it: an error there refuses the migration. It cannot if the device
    /// belongs to an iommufd, and is attached to page tables that the user has made, or to none.
    ///
    /// [`Device::track_begin`]: migration::device::Device::track_begin
    /// [`Device::save_begin`]: migration::device::Device::save_begin
    pub fn check_memory(&self) -> Result {
        self.check_open()?;
        if !self.is_of_iommufd() {
            return Ok(());
        }
        self.check_attached().inspect_err(|_| {
            dev_warn_ratelimited!(
                self,
                "memory cannot be read: its user has attached it to page tables of its own, or to none\n"
            );
        })
    }

    /// Returns `EOPNOTSUPP` unless the access is attached to an address space.
    fn check_attached(&self) -> Result {
        match self.access().is_attached.load(Relaxed) {
            true => Ok(()),
            false => Err(EOPNOTSUPP),
        }
    }
}
