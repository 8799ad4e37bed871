// SPDX-License-Identifier: GPL-2.0-only

//! The operations that the VFIO core calls on a variant device and not on every device.

use crate::{
    bindings,
    pins, //
};

/// What the VFIO core calls.
pub(super) const OPS: bindings::vfio_device_ops = {
    let mut ops: bindings::vfio_device_ops = pin_init::zeroed();
    ops.device_feature = Some(bindings::vfio_pci_core_ioctl_feature);
    ops.get_region_info_caps = Some(bindings::vfio_pci_ioctl_get_region_info);
    ops.mmap = Some(bindings::vfio_pci_core_mmap);
    ops.dma_unmap = Some(dma_unmap);
    ops.request = Some(bindings::vfio_pci_core_request);
    ops.match_ = Some(bindings::vfio_pci_core_match);
    ops.match_token_uuid = Some(bindings::vfio_pci_core_match_token_uuid);
    #[cfg(CONFIG_IOMMUFD)]
    {
        ops.bind_iommufd = Some(bindings::vfio_iommufd_physical_bind);
        ops.unbind_iommufd = Some(bindings::vfio_iommufd_physical_unbind);
        ops.attach_ioas = Some(bindings::vfio_iommufd_physical_attach_ioas);
        ops.detach_ioas = Some(bindings::vfio_iommufd_physical_detach_ioas);
    }
    ops
};

/// Nothing stays pinned, but a pin may not have ended yet.
///
/// # Safety
///
/// Called by a container without the lock that pinning takes.
unsafe extern "C" fn dma_unmap(_vdev: *mut bindings::vfio_device, _iova: u64, _length: u64) {
    pins::drain();
}
