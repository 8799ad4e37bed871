// SPDX-License-Identifier: GPL-2.0-only

//! The operations that the VFIO core calls on a variant device and not on every device.

use kernel::{
    error::from_result,
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

use super::{
    variant_device::{
        Pci,
        VariantDevice, //
    },
    CoreDevice,
    Operations, //
};
use crate::{
    bindings,
    device::trace, //
};

impl<T: Operations> Pci<T> {
    /// What the VFIO core calls.
    pub(super) const OPERATIONS: bindings::vfio_device_ops = {
        let mut ops: bindings::vfio_device_ops = pin_init::zeroed();
        ops.device_feature = Some(bindings::vfio_pci_core_ioctl_feature);
        ops.get_region_info_caps = Some(get_region_info::<T>);
        ops.mmap = Some(mmap::<T>);
        ops.dma_unmap = Some(dma_unmap);
        ops.request = Some(bindings::vfio_pci_core_request);
        ops.match_ = Some(bindings::vfio_pci_core_match);
        ops.match_token_uuid = Some(bindings::vfio_pci_core_match_token_uuid);
        #[cfg(CONFIG_IOMMUFD)]
        {
            ops.bind_iommufd = Some(iommufd::bind::<T>);
            ops.unbind_iommufd = Some(iommufd::unbind::<T>);
            ops.attach_ioas = Some(iommufd::attach_ioas::<T>);
            ops.detach_ioas = Some(iommufd::detach_ioas::<T>);
        }
        ops
    };
}

/// Answers `VFIO_DEVICE_GET_REGION_INFO`.
///
/// # Safety
///
/// Called by the VFIO core with an open device of this driver, an information to fill in and a list
/// of capabilities to add to.
unsafe extern "C" fn get_region_info<T: Operations>(
    vdev: *mut bindings::vfio_device,
    info: *mut bindings::vfio_region_info,
    caps: *mut bindings::vfio_info_cap,
) -> c_int {
    from_result(|| {
        // SAFETY: The caller vouches for all of it.
        unsafe { VariantDevice::<T>::from_vdev(vdev).region_info(&mut *info, caps) }?;
        Ok(0)
    })
}

/// Maps a part of a region.
///
/// # Safety
///
/// Called by the VFIO core with an open device of this driver and an area that is being set up.
unsafe extern "C" fn mmap<T: Operations>(
    vdev: *mut bindings::vfio_device,
    vma: *mut kernel::bindings::vm_area_struct,
) -> c_int {
    from_result(|| {
        // SAFETY: The caller vouches for both.
        unsafe { VariantDevice::<T>::from_vdev(vdev).user_mmap(vma) }?;
        Ok(0)
    })
}

/// Waits for pins: none is held for long, but one may not have ended yet.
///
/// # Safety
///
/// Called by a container with an open device of a driver here, and without the lock that pinning
/// takes.
unsafe extern "C" fn dma_unmap(vdev: *mut bindings::vfio_device, iova: u64, length: u64) {
    // SAFETY: The caller vouches for the device.
    let core = unsafe { CoreDevice::from_raw(vdev.cast()) };
    let begun = Instant::<Monotonic>::now();
    let round = core.pins().drain();
    trace::unmap(core.as_ref(), iova, length, round, begun.elapsed());
}

#[cfg(CONFIG_IOMMUFD)]
mod iommufd {
    //! Operations of a device that an iommufd owns.

    use kernel::{
        error::{
            from_result,
            to_result, //
        },
        prelude::*, //
    };

    use super::super::{
        variant_device::VariantDevice,
        Operations, //
    };
    use crate::{
        bindings,
        lock::lock_killable, //
    };

    /// Binds the device to an iommufd; `ENOMEM` without memory.
    ///
    /// # Safety
    ///
    /// Called by the VFIO core with a device of this driver that is about to be opened.
    pub(super) unsafe extern "C" fn bind<T: Operations>(
        vdev: *mut bindings::vfio_device,
        ictx: *mut kernel::bindings::iommufd_ctx,
        id: *mut u32,
    ) -> c_int {
        // SAFETY: The caller vouches for the device.
        let this = unsafe { VariantDevice::<T>::from_vdev(vdev) };
        from_result(|| {
            // SAFETY: The caller vouches for the arguments.
            to_result(unsafe { bindings::vfio_iommufd_physical_bind(vdev, ictx, id) })?;
            // SAFETY: The device was just bound to this iommufd.
            unsafe { this.host().access().create(ictx) }.inspect_err(|_| {
                // SAFETY: Undoes the binding.
                unsafe { bindings::vfio_iommufd_physical_unbind(vdev) };
            })?;
            Ok(0)
        })
    }

    /// Ends the binding, and detaches a device that is attached.
    ///
    /// # Safety
    ///
    /// Called by the VFIO core with a device of this driver that was closed.
    pub(super) unsafe extern "C" fn unbind<T: Operations>(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        let this = unsafe { VariantDevice::<T>::from_vdev(vdev) };
        // SAFETY: The device was closed.
        unsafe { this.host().access().destroy() };
        // SAFETY: The caller vouches for the device.
        unsafe { bindings::vfio_iommufd_physical_unbind(vdev) };
    }

    /// Attaches the device to an address space, in place of the one before.
    ///
    /// That may pin all of a guest's memory and take long. Passes through a private domain wait for
    /// it; the state lock is not held.
    ///
    /// `EIO` if the device was cut off from memory, since it may still be at work. `EINTR` if the
    /// caller is killed while a pass is under way.
    ///
    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver and an object's number.
    pub(super) unsafe extern "C" fn attach_ioas<T: Operations>(
        vdev: *mut bindings::vfio_device,
        pt_id: *mut u32,
    ) -> c_int {
        // SAFETY: The caller vouches for the device.
        let this = unsafe { VariantDevice::<T>::from_vdev(vdev) };
        from_result(|| {
            let attachment = lock_killable(this.host().attachment())?;
            if attachment.is_cut_off {
                return Err(EIO);
            }
            // SAFETY: The caller vouches for the arguments.
            let id = unsafe { *pt_id };
            // SAFETY: As above.
            to_result(unsafe { bindings::vfio_iommufd_physical_attach_ioas(vdev, pt_id) })?;
            // SAFETY: The device was just attached to it.
            unsafe { this.host().access().attach(id) };
            Ok(0)
        })
    }

    /// Detaches the device from its address space.
    ///
    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    pub(super) unsafe extern "C" fn detach_ioas<T: Operations>(vdev: *mut bindings::vfio_device) {
        // SAFETY: The caller vouches for the device.
        let this = unsafe { VariantDevice::<T>::from_vdev(vdev) };
        // No pass may be under way. The operation cannot fail, so it waits; a pass ends soon.
        let _attachment = this.host().attachment().lock();
        // SAFETY: This is the operation.
        unsafe { this.host().access().detach() };
        // SAFETY: The caller vouches for the device.
        unsafe { bindings::vfio_iommufd_physical_detach_ioas(vdev) }
    }
}
