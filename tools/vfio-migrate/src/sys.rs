// SPDX-License-Identifier: GPL-2.0-only

//! System calls: the only module with `unsafe`.
//!
//! Each function is one call and returns its errno; what to make of it is for the callers.

#![expect(unsafe_code)]

mod child;
mod feature;
mod file;
mod mapping;
mod signal;
mod stream;
mod torn;

use std::ffi::{c_void, CStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};
use vfio_bindings::bindings::vfio as uapi;

pub use child::{end_with_parent, memory_file, pidfd};
pub use feature::{
    device_feature, dma_logging_report, precopy_info, set_mig_state, DmaReport, FeatureData, Moved,
};
pub use file::{name_file, open_to_write, stdout_was_closed, unnamed_file};
pub use mapping::{page_size, try_map, How, Mapping};
pub use signal::{before_signals_end, catch_interruptions, end_requests, interrupt};
pub use stream::{do_not_block, poll_within, pread_some, pwrite_some, read, seek, write, Polled};
pub use torn::Torn;

/// An ioctl of VFIO or of an iommufd, which counts on in VFIO's type, by its number above `VFIO_BASE`.
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

/// One ioctl with its argument as the C interface has it.
struct Call {
    request: Request,
    argument: *mut c_void,
}

// SAFETY: `as_ptr` hands over the argument and `output_from_ptr` ignores it; whether it is right for
// the request is for the functions below, which alone make a `Call`. It may be written to.
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
/// Where the bytes do not begin with a length of at most their own.
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
    // SAFETY: these requests write at most `argsz` bytes at the pointer, and `argsz` was just seen to
    // lie within the slice; an `argsz` smaller than their own structure they refuse. None of their
    // structures, as long as they are here, and none of the two features, holds an address that the
    // kernel would follow: that of a token comes behind the 16 bytes of a binding.
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

/// Opens the device of that name in a group.
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
/// The pages stay pinned until the container is closed, longer than the mapping if need be: a device
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
    // SAFETY: the request reads this structure. What it maps is memory of a `Mapping`, into which no
    // reference exists, so that a device may change it at any time.
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
    // SAFETY: the request reads and writes this structure. What it maps is memory of a `Mapping`, as
    // above.
    unsafe { ioctl::ioctl(iommufd, call) }?;
    Ok(())
}

/// Opens a file for reading and writing.
pub fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a file for reading; where there is nothing to read yet, reading does not block.
pub fn open_nonblocking(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Reads what there is, of a file that does not block; 0 where there is nothing.
pub fn read_available(fd: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    match rustix::io::read(fd, bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => result,
    }
}

/// Waits until one of the files has something to read or is at its end, `broken` has no reader any
/// more, or the time is over.
pub fn wait(
    readable: &[BorrowedFd<'_>],
    broken: BorrowedFd<'_>,
    timeout: Duration,
) -> Result<Woken, Errno> {
    let timeout = rustix::event::Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
    let mut polled: Vec<PollFd<'_>> = readable
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    polled.push(PollFd::from_borrowed_fd(broken, PollFlags::empty()));
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    let mut seen = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(Woken {
        readable: seen.by_ref().take(readable.len()).collect(),
        broken: seen.next().unwrap_or_default(),
    })
}

/// What [`wait`] has waited for.
#[derive(Debug)]
pub struct Woken {
    /// For each of the files whether it can be read.
    pub readable: Vec<bool>,
    /// Whether nobody reads what is written.
    pub broken: bool,
}

/// What the kernel calls a file system: `f_type` of statfs(2).
pub fn file_system(path: &Path) -> Result<u64, Errno> {
    // CAST: the numbers have 32 bits, and the type is the machine's.
    Ok(rustix::fs::statfs(path)?.f_type as u64)
}

/// The time since the boot, without the time asleep: the trace clock "mono".
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// Columns and rows of a terminal; nothing where it is none, or does not know.
pub fn terminal_size(terminal: BorrowedFd<'_>) -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Reads in one call; a short read is `EIO`.
pub fn pread(fd: BorrowedFd<'_>, offset: u64, bytes: &mut [u8]) -> Result<(), Errno> {
    match rustix::io::pread(fd, &mut *bytes, offset)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Writes in one call; a short write is `EIO`.
pub fn pwrite(fd: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    match rustix::io::pwrite(fd, bytes, offset)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Reads all of a range, in as many calls as it takes.
pub fn pread_all(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pread(fd, &mut *bytes, offset)? {
            0 => return Err(Errno::IO),
            n => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// Writes all of a range, in as many calls as it takes.
pub fn pwrite_all(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset)? {
            0 => return Err(Errno::IO),
            n => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// Makes an eventfd whose reads do not block.
pub fn eventfd() -> Result<OwnedFd, Errno> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Waits for an eventfd and returns its count, or 0 when nothing came in time.
pub fn eventfd_wait(fd: BorrowedFd<'_>, timeout: Duration) -> Result<u64, Errno> {
    let timeout = rustix::event::Timespec::try_from(timeout).map_err(|_| Errno::INVAL)?;
    let mut polled = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    if rustix::event::poll(&mut polled, Some(&timeout))? == 0 {
        return Ok(0);
    }
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(8) => Ok(u64::from_ne_bytes(count)),
        Ok(_) => Err(Errno::IO),
        Err(Errno::AGAIN) => Ok(0),
        Err(errno) => Err(errno),
    }
}

/// Bytes that the process may lock in memory; nothing where there is no limit.
pub fn memory_lock_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Memlock).current
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}
