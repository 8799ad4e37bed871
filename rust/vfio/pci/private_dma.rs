// SPDX-License-Identifier: GPL-2.0-only

//! DMA into the driver's own memory while user space owns the device.
//!
//! The device is in the user's IOMMU domain then, in which no I/O virtual address is known to be
//! free. So a domain of the driver's own takes its place during a pass. Mappings that the user
//! makes meanwhile go into the user's domain, and are there when that comes back.
//!
//! If a container owns the device, the domain stays as long as the device is open. If an iommufd
//! owns it, the user may attach the device to another address space at any time, or to none, and it
//! has none yet when the device is opened. So attaching and detaching take the attachment's lock,
//! as each pass does. A device that is attached to none has no domain to come back. The handle that
//! iommufd leaves with the group is not touched by an exchange of domains.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use core::ptr::NonNull;

use kernel::{
    bindings::{
        iommu_attach_group,
        iommu_detach_group,
        iommu_domain,
        iommu_domain_free,
        iommu_get_domain_for_dev,
        iommu_group,
        iommu_group_get,
        iommu_group_put,
        iommu_unmap,
        IOMMU_DOMAIN_NESTED,
        __IOMMU_DOMAIN_PAGING, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::lock::mutex::MutexGuard,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use super::{
    core_device::Attachment,
    passes,
    scratch::ScratchPage,
    CoreDevice,
    Registers, //
};
use crate::{
    bindings,
    device::trace,
    lock::lock_killable,
    wait::{
        self,
        Signals, //
    }, //
};

/// I/O virtual address of the scratch page in the private domain.
///
/// Low, since devices differ in their number of address bits.
const IOVA: u64 = 0x1000;

/// The longest time for which attaching the user's domain is tried again if there is no memory for
/// it.
const MEMORY_TIMEOUT: Delta = Delta::from_millis(200);

/// Time between two tries.
const GIVE_BACK_INTERVAL: Delta = Delta::from_millis(2);

/// Why a pass failed.
#[derive(Debug)]
pub enum PassError {
    /// Nothing happened to the device.
    Failed(Error),
    /// The device may still be at work or could not be given back to the user's domain.
    ///
    /// It was cut off from all memory, and stays so until it leaves the user's container.
    Lost(Error),
}

impl From<PassError> for Error {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Failed(error) | PassError::Lost(error) => error,
        }
    }
}

/// A reference to the IOMMU group of a device that is alone in it.
///
/// # Invariants
///
/// The pointer owns a reference to a group.
struct Group(*mut iommu_group);

impl Group {
    /// Gets the group of a device.
    ///
    /// `ENODEV` without an IOMMU; `EOPNOTSUPP` if the device shares the group, since the other
    /// devices would lose the domain for their DMA too.
    fn of(core: &CoreDevice) -> Result<Self> {
        // SAFETY: The device is valid for the life of `core`.
        let group = unsafe { iommu_group_get(&raw mut (*core.pdev()).dev) };
        if group.is_null() {
            return Err(ENODEV);
        }
        // INVARIANT: `iommu_group_get` returned a reference.
        let group = Self(group);
        // SAFETY: By the type invariant.
        if !unsafe { bindings::rvfio_group_is_singleton(group.0) } {
            return Err(EOPNOTSUPP);
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: The reference is owned by the type invariant.
        unsafe { iommu_group_put(self.0) };
    }
}

/// A paging domain of the driver's own.
///
/// # Invariants
///
/// The pointer owns a domain.
struct Domain(*mut iommu_domain);

impl Domain {
    /// Allocates an empty domain for a device.
    fn new(core: &CoreDevice) -> Result<Self> {
        // SAFETY: The device is valid for the life of `core`.
        let domain = from_err_ptr(unsafe {
            bindings::rvfio_paging_domain_alloc(&raw mut (*core.pdev()).dev)
        })?;
        // INVARIANT: The domain was just allocated.
        Ok(Self(domain))
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: The domain is owned and, if it was attached, was detached before.
        unsafe { iommu_domain_free(self.0) };
    }
}

/// A scratch page mapped at [`IOVA`] of a private domain.
///
/// # Invariants
///
/// The page is mapped and stays allocated as long as it is.
struct Mapping<'a> {
    domain: Domain,
    _page: &'a mut ScratchPage,
}

impl<'a> Mapping<'a> {
    /// Maps the page for reads and writes of the device.
    fn new(domain: Domain, page: &'a mut ScratchPage) -> Result<Self> {
        // CAST: Both are 64 bits wide.
        // SAFETY: The domain is valid, and the page outlives the mapping, which borrows it.
        to_result(unsafe {
            bindings::rvfio_iommu_map_page(domain.0, IOVA as c_ulong, page.as_ptr())
        })?;
        // INVARIANT: The page was just mapped and is borrowed for `'a`.
        Ok(Self {
            domain,
            _page: page,
        })
    }
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        // CAST: Both are 64 bits wide.
        // SAFETY: The page was mapped there by the type invariant.
        unsafe { iommu_unmap(self.domain.0, IOVA as c_ulong, PAGE_SIZE) };
    }
}

impl CoreDevice {
    /// Runs `pass` while the device reads and writes `page` instead of the user's memory.
    ///
    /// `pass` gets the registers of `bar` and the page's I/O virtual address, below 8192. It must
    /// leave the device idle, and return an error only if it cannot tell that the device is idle.
    /// The device is then cut off from all memory, see [`PassError::Lost`].
    ///
    /// The caller holds the state lock, without which no driver gets the device. The call waits
    /// while the device's user attaches it to another address space.
    ///
    /// Errors before the pass are `ENODEV` (no user has the device open, so cutting it off would
    /// give it to the host; no IOMMU; or the device was cut off before), `EOPNOTSUPP` (the device
    /// shares its IOMMU group, or its user has it translate by page tables of a guest), `EIO`
    /// (low-power state), `EBUSY` (a reset by others does not end), `EINTR` (the caller was killed
    /// while it waited) and `ENOMEM`.
    pub fn with_private_dma<R>(
        &self,
        bar: u8,
        page: &mut ScratchPage,
        pass: impl FnOnce(&Registers<'_>, u64) -> Result<R>,
    ) -> Result<R, PassError> {
        let begun = Instant::<Monotonic>::now();
        let result = lock_killable(self.attachment())
            .map_err(PassError::Failed)
            .and_then(|mut attachment| {
                let result = self.swap_domains(&attachment, bar, page, pass);
                attachment.is_cut_off |= matches!(result, Err(PassError::Lost(_)));
                result
            });
        let outcome = match &result {
            Ok(_) => Ok(()),
            Err(PassError::Failed(error) | PassError::Lost(error)) => Err(*error),
        };
        trace::private_dma(self.as_ref(), begun.elapsed(), outcome);
        result
    }

    /// Gives the device the private domain for the time of `pass`; see [`Self::with_private_dma`].
    fn swap_domains<R>(
        &self,
        attachment: &MutexGuard<'_, Attachment>,
        bar: u8,
        page: &mut ScratchPage,
        pass: impl FnOnce(&Registers<'_>, u64) -> Result<R>,
    ) -> Result<R, PassError> {
        self.check_open().map_err(PassError::Failed)?;
        let group = Group::of(self).map_err(PassError::Failed)?;
        let user = self.user_domain(attachment).map_err(PassError::Failed)?;
        let mapping = Domain::new(self)
            .and_then(|domain| Mapping::new(domain, page))
            .map_err(PassError::Failed)?;
        let registers = self.registers(bar).map_err(PassError::Failed)?;

        if let Some(user) = user {
            // SAFETY: `user` is attached to the group, which is valid. The device is idle and has
            // the group to itself.
            unsafe { iommu_detach_group(user.as_ptr(), group.0) };
        }
        // SAFETY: Both are valid, and the group has no domain of a user's now.
        let attached = to_result(unsafe { iommu_attach_group(mapping.domain.0, group.0) });
        if let Err(error) = attached {
            return Err(Self::give_back(user, &group)
                .map_or_else(PassError::Lost, |()| PassError::Failed(error)));
        }

        registers.enable_master();
        let result = pass(&registers, IOVA);

        // SAFETY: The private domain is attached to the group.
        unsafe { iommu_detach_group(mapping.domain.0, group.0) };

        let value = result.map_err(PassError::Lost)?;
        Self::give_back(user, &group).map_err(PassError::Lost)?;
        Ok(value)
    }

    /// Returns the user's domain; none if an iommufd owns the device and it is attached to no
    /// address space.
    ///
    /// The domain is valid until the caller releases the attachment's lock.
    ///
    /// `iommu_get_domain_for_dev()` is documented as not for drivers that manage the device's
    /// domain themselves, as this one does. Only if the domain is that of the DMA API is what it
    /// returns valid as long as the driver is bound, and while the PCI core resets the function the
    /// hardware is in another domain. No other exported function returns a user's domain:
    /// `iommu_driver_get_domain_for_dev()` is for the IOMMU's driver, under the group's mutex, and
    /// what type1 and iommufd keep is private to them. Here the function is right all the same. It
    /// reads the group's domain, and nothing changes or frees that while the caller uses it:
    ///
    /// - a container attaches and detaches a group only while none of its devices is open
    ///   (`vfio_group_ioctl_unset_container()` fails with `EBUSY`);
    /// - an iommufd does so in the operations `attach_ioas` and `detach_ioas`, which take the
    ///   attachment's lock, and when the device was closed;
    /// - a group that has an owner, a container or an iommufd, gets no other default domain (`type`
    ///   in sysfs, `iommu_group_store_type()`), and no DMA API domain;
    /// - a reset by others takes no part: it has not begun, or [`super::passes`] keeps it out until
    ///   the user's domain is back.
    fn user_domain(
        &self,
        attachment: &MutexGuard<'_, Attachment>,
    ) -> Result<Option<NonNull<iommu_domain>>> {
        if attachment.is_cut_off {
            return Err(ENODEV);
        }
        // SAFETY: The device is valid for the life of `self`. The domain is valid as the function's
        // documentation says.
        let domain = unsafe { iommu_get_domain_for_dev(&raw mut (*self.pdev()).dev) };
        let domain = NonNull::new(domain).ok_or(ENODEV)?;
        // SAFETY: As above.
        let kind = unsafe { domain.as_ref() }.type_;
        if kind & __IOMMU_DOMAIN_PAGING != 0 {
            return Ok(Some(domain));
        }
        // SAFETY: The device is valid for the life of `self`.
        if unsafe { bindings::rvfio_is_unattached(self.as_raw().cast()) } {
            return Ok(None);
        }
        if kind == IOMMU_DOMAIN_NESTED {
            return Err(EOPNOTSUPP);
        }
        // A device that was lost stays in a domain that blocks until it leaves the container, even
        // if it was opened again since.
        Err(ENODEV)
    }

    /// Attaches the user's domain again, if there is one.
    ///
    /// That allocates memory, and fails with `EBUSY` until a reset has ended. It is tried again for
    /// a while, since the device would be lost.
    fn give_back(user: Option<NonNull<iommu_domain>>, group: &Group) -> Result {
        let Some(user) = user else {
            return Ok(());
        };
        let begun = Instant::<Monotonic>::now();
        let attach = || {
            // SAFETY: The user's domain is valid until the attachment's lock is released, and the
            // group has no domain.
            let result = to_result(unsafe { iommu_attach_group(user.as_ptr(), group.0) });
            match result {
                Err(error) if comes_later(error, begun.elapsed()) => Ok(false),
                result => result.map(|()| true),
            }
        };
        wait::until(Signals::Ignore, GIVE_BACK_INTERVAL, passes::TIMEOUT, attach)
    }
}

/// Returns whether a domain that could not be attached for `elapsed` may be attached in a while.
fn comes_later(error: Error, elapsed: Delta) -> bool {
    error == EBUSY || (error == ENOMEM && elapsed < MEMORY_TIMEOUT)
}

#[kernel::macros::kunit_tests(rvfio_private_dma)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again() {
        let none = Delta::from_millis(0);
        assert!(comes_later(ENOMEM, none));
        assert!(!comes_later(ENOMEM, MEMORY_TIMEOUT));
        // The IOMMU core's answer while the function is being reset.
        assert!(comes_later(EBUSY, none));
        assert!(comes_later(EBUSY, MEMORY_TIMEOUT));
        assert!(!comes_later(EINVAL, none));
        assert!(!comes_later(ENODEV, none));
    }
}
