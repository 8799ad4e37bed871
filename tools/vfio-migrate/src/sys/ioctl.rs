// SPDX-License-Identifier: GPL-2.0-only

//! The ioctls of VFIO and of an iommufd.

use std::ffi::{c_void, CStr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};
use vfio_bindings::bindings::vfio as uapi;

use super::Mapping;

/// An ioctl of VFIO or of an iommufd, by its number above `VFIO_BASE`. Both have the same type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Request {
    /// `VFIO_GET_API_VERSION`
    GetApiVersion = 0,
    /// `VFIO_CHECK_EXTENSION`
    CheckExtension = 1,
    /// `VFIO_SET_IOMMU`
    SetIommu = 2,
    /// `VFIO_GROUP_GET_STATUS`
    GroupGetStatus = 3,
    /// `VFIO_GROUP_SET_CONTAINER`
    GroupSetContainer = 4,
    /// `VFIO_GROUP_GET_DEVICE_FD`
    GroupGetDeviceFd = 6,
    /// `VFIO_DEVICE_GET_INFO`
    DeviceGetInfo = 7,
    /// `VFIO_DEVICE_GET_REGION_INFO`
    DeviceGetRegionInfo = 8,
    /// `VFIO_DEVICE_GET_IRQ_INFO`
    DeviceGetIrqInfo = 9,
    /// `VFIO_DEVICE_SET_IRQS`
    DeviceSetIrqs = 10,
    /// `VFIO_DEVICE_RESET`
    DeviceReset = 11,
    /// `VFIO_IOMMU_MAP_DMA`
    IommuMapDma = 13,
    /// `VFIO_DEVICE_FEATURE`
    DeviceFeature = 17,
    /// `VFIO_DEVICE_BIND_IOMMUFD`
    DeviceBindIommufd = 18,
    /// `VFIO_DEVICE_ATTACH_IOMMUFD_PT`
    DeviceAttachIommufdPt = 19,
    /// `VFIO_MIG_GET_PRECOPY_INFO`
    MigGetPrecopyInfo = 21,
    /// `IOMMU_IOAS_ALLOC`
    IoasAlloc = 0x81 - 100,
    /// `IOMMU_IOAS_MAP`
    IoasMap = 0x85 - 100,
}

impl Request {
    /// The request's code: VFIO numbers its ioctls with `_IO`, without direction and size.
    fn opcode(self) -> Opcode {
        // CAST: the base is 100, and the enum is `repr(u8)`.
        ioctl::opcode::none(uapi::VFIO_TYPE, uapi::VFIO_BASE as u8 + self as u8)
    }
}

/// One ioctl with its argument as in C.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) argument: *mut c_void,
}

// SAFETY: `as_ptr` hands over the argument and `output_from_ptr` ignores it. Only the functions
// below and those of `feature` make a `Call`, each with an argument that fits the request. The
// kernel may write to it.
unsafe impl Ioctl for Call {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.request.opcode()
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<IoctlOutput, Errno> {
        Ok(out)
    }
}

/// Issues an ioctl whose argument is an integer or nothing.
pub fn ioctl_value(fd: BorrowedFd<'_>, request: Request, value: usize) -> Result<u32, Errno> {
    assert!(matches!(
        request,
        Request::GetApiVersion | Request::CheckExtension | Request::SetIommu | Request::DeviceReset
    ));
    let call = Call {
        request,
        argument: std::ptr::without_provenance_mut(value),
    };
    // SAFETY: these requests take their argument by value, so the kernel follows no pointer.
    let result = unsafe { ioctl::ioctl(fd, call) }?;
    // CAST: a successful ioctl returns no negative number.
    Ok(result as u32)
}

/// Issues an ioctl whose argument is a structure that begins with its own length.
///
/// # Panics
///
/// If the bytes do not begin with a length of at most their own.
pub fn ioctl_bytes(fd: BorrowedFd<'_>, request: Request, bytes: &mut [u8]) -> Result<(), Errno> {
    assert!(matches!(
        request,
        Request::GroupGetStatus
            | Request::DeviceGetInfo
            | Request::DeviceGetRegionInfo
            | Request::DeviceGetIrqInfo
            | Request::DeviceSetIrqs
            | Request::DeviceFeature
            | Request::DeviceBindIommufd
            | Request::DeviceAttachIommufdPt
            | Request::IoasAlloc
    ));
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    assert!(word(0) as usize <= bytes.len());
    if request == Request::DeviceFeature {
        let feature = word(4) & uapi::VFIO_DEVICE_FEATURE_MASK;
        assert!(matches!(
            feature,
            uapi::VFIO_DEVICE_FEATURE_MIGRATION | uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
        ));
    }
    let call = Call {
        request,
        argument: bytes.as_mut_ptr().cast(),
    };
    // SAFETY: these requests write at most `argsz` bytes at the pointer, which the assertion above
    // bounds by the slice, and refuse an `argsz` smaller than their structure. None of the
    // structures and neither feature holds an address that the kernel would follow: the token's
    // address in a binding comes after its first 16 bytes.
    unsafe { ioctl::ioctl(fd, call) }?;
    Ok(())
}

/// Attaches a group to a container.
pub fn group_set_container(group: BorrowedFd<'_>, container: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut fd = container.as_raw_fd();
    let call = Call {
        request: Request::GroupSetContainer,
        argument: (&raw mut fd).cast(),
    };
    // SAFETY: the request reads one `int` from the pointer.
    unsafe { ioctl::ioctl(group, call) }?;
    Ok(())
}

/// Opens a device of a group by its name.
pub fn group_device(group: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let call = Call {
        request: Request::GroupGetDeviceFd,
        argument: name.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the request reads a string that ends in a zero byte and writes nothing.
    let fd = unsafe { ioctl::ioctl(group, call) }?;
    // SAFETY: the request returned a new file descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Maps memory for the devices of a container, from an I/O virtual address on.
///
/// The pages stay pinned until the container is closed, even if the mapping goes first, so a device
/// never reaches memory that has become something else.
pub fn iommu_map(container: BorrowedFd<'_>, memory: &Mapping, iova: u64) -> Result<(), Errno> {
    let mut map = uapi::vfio_iommu_type1_dma_map {
        // CAST: the size of a small structure.
        argsz: size_of::<uapi::vfio_iommu_type1_dma_map>() as u32,
        flags: uapi::VFIO_DMA_MAP_FLAG_READ | uapi::VFIO_DMA_MAP_FLAG_WRITE,
        vaddr: memory.address(),
        iova,
        size: memory.len() as u64,
    };
    let call = Call {
        request: Request::IommuMapDma,
        argument: (&raw mut map).cast(),
    };
    // SAFETY: the request reads this structure. It maps memory of a `Mapping`, into which no
    // reference exists, so a device may change it at any time.
    unsafe { ioctl::ioctl(container, call) }?;
    Ok(())
}

/// `struct iommu_ioas_map` of `<linux/iommufd.h>`.
#[repr(C)]
struct IoasMap {
    size: u32,
    flags: u32,
    ioas_id: u32,
    reserved: u32,
    user_va: u64,
    length: u64,
    iova: u64,
}

/// Maps memory for the devices of an iommufd's address space, from an I/O virtual address on.
///
/// The pages stay pinned until the iommufd is closed, as with [`iommu_map`].
pub fn ioas_map(
    iommufd: BorrowedFd<'_>,
    ioas: u32,
    memory: &Mapping,
    iova: u64,
) -> Result<(), Errno> {
    /// `IOMMU_IOAS_MAP_FIXED_IOVA`, `_WRITEABLE` and `_READABLE`.
    const FLAGS: u32 = 1 | (1 << 1) | (1 << 2);
    let mut map = IoasMap {
        // CAST: the size of a small structure.
        size: size_of::<IoasMap>() as u32,
        flags: FLAGS,
        ioas_id: ioas,
        reserved: 0,
        user_va: memory.address(),
        length: memory.len() as u64,
        iova,
    };
    let call = Call {
        request: Request::IoasMap,
        argument: (&raw mut map).cast(),
    };
    // SAFETY: the request reads and writes this structure. It maps memory of a `Mapping`, as above.
    unsafe { ioctl::ioctl(iommufd, call) }?;
    Ok(())
}
