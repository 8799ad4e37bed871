// SPDX-License-Identifier: GPL-2.0-only

//! DMA logging, for a client that asks the device which pages it wrote: the features
//! `VFIO_DEVICE_FEATURE_DMA_LOGGING_*`.
//!
//! Only kernels with `CONFIG_IOMMUFD_DRIVER` have it. Others accept the start and the stop and fail
//! the report, which ends a client's migration. So the features are not offered there, and clients
//! ask the container.
//!
//! C headers: `struct vfio_log_ops` in [`include/linux/vfio.h`](srctree/include/linux/vfio.h),
//! [`include/linux/iova_bitmap.h`](srctree/include/linux/iova_bitmap.h)

use core::marker::PhantomData;

use kernel::{
    bindings::{
        iova_bitmap,
        rb_root_cached, //
    },
    error::from_result,
    prelude::*, //
};
use migration::{
    device::{
        Device,
        DirtyTracking, //
    },
    iova::{
        IovaRange,
        PAGE_SIZE, //
    }, //
};

use super::{
    Flavour,
    VfioDevice, //
};
use crate::bindings;

impl<F: Flavour> VfioDevice<F> {
    /// Offers DMA logging, unless the driver does not know what the device writes: the client then
    /// has no source but the container.
    ///
    /// # Safety
    ///
    /// `vdev` must be valid and not registered yet.
    pub(super) unsafe fn offer_log(vdev: *mut bindings::vfio_device) {
        if <F::Device as Device>::DIRTY_TRACKING == DirtyTracking::None {
            return;
        }
        // SAFETY: The caller vouches for the device.
        unsafe { (*vdev).log_ops = &LogOps::<F>::OPS };
    }
}

/// The operations of a driver's devices.
struct LogOps<F>(PhantomData<F>);

impl<F: Flavour> LogOps<F> {
    /// What the VFIO core calls.
    const OPS: bindings::vfio_log_ops = bindings::vfio_log_ops {
        log_start: Some(Self::start),
        log_stop: Some(Self::stop),
        log_read_and_clear: Some(Self::read_and_clear),
    };

    /// Starts logging of all that the device writes, not only of the ranges that the client names.
    ///
    /// `EBUSY` if logging is on already.
    ///
    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver and a place for the page size.
    unsafe extern "C" fn start(
        vdev: *mut bindings::vfio_device,
        _ranges: *mut rb_root_cached,
        _count: u32,
        page_size: *mut u64,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device.
            let this = unsafe { VfioDevice::<F>::from_vdev(vdev) };
            let mut state = this.state()?;
            let (v2, engine) = state.v2();
            v2.log_start(engine, this.host())?;
            drop(state);
            // SAFETY: The caller vouches for the place.
            unsafe { *page_size = PAGE_SIZE };
            Ok(0)
        })
    }

    /// Stops logging; does nothing if it is off.
    ///
    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver.
    unsafe extern "C" fn stop(vdev: *mut bindings::vfio_device) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device.
            let this = unsafe { VfioDevice::<F>::from_vdev(vdev) };
            let mut state = this.state()?;
            let (v2, engine) = state.v2();
            v2.log_stop(engine, this.host());
            Ok(0)
        })
    }

    /// Reports which pages of a range were written, and forgets them; see [`V2::log_report`].
    ///
    /// A bit of the bitmap stands for one of the client's pages, counted from the start of the
    /// range. The client's pages need not be ours. `EINVAL` if logging is off or the range is
    /// empty.
    ///
    /// # Safety
    ///
    /// Called by the VFIO core with an open device of this driver and the user's bitmap, which
    /// covers the range.
    ///
    /// [`V2::log_report`]: migration::protocols::v2::V2::log_report
    unsafe extern "C" fn read_and_clear(
        vdev: *mut bindings::vfio_device,
        iova: c_ulong,
        length: c_ulong,
        dirty_bitmap: *mut iova_bitmap,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller vouches for the device.
            let this = unsafe { VfioDevice::<F>::from_vdev(vdev) };
            let asked = IovaRange::new(u64::try_from(iova)?, u64::try_from(length)?)?;
            let mut state = this.state()?;
            let (v2, engine) = state.v2();
            v2.log_report(engine, this.host(), asked, |part| {
                let (first, length) =
                    (usize::try_from(part.start())?, usize::try_from(part.len())?);
                // SAFETY: The caller vouches for the bitmap, and the range lies in it.
                unsafe { bindings::rvfio_iova_bitmap_set(dirty_bitmap, first, length) };
                Ok(())
            })?;
            Ok(0)
        })
    }
}
