// SPDX-License-Identifier: GPL-2.0-only

//! `VFIO_DEVICE_FEATURE` with arguments of all kinds, wrong ones too.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl;
use vfio_bindings::bindings::vfio as uapi;

use super::ioctl::{Call, Request};
use super::Mapping;

/// Data of a feature; no feature used here has more.
pub type FeatureData = [u8; 64];

/// Least page of a dirty bitmap, in bytes; the kernel refuses smaller ones.
const LEAST_PAGE: u64 = 4096;

/// `VFIO_DEVICE_FEATURE_DMA_LOGGING_START`, `_STOP`, `_REPORT`, `_MIG_DATA_SIZE` and
/// `_MIG_PRECOPY_INFOv2`.
const HARMLESS: [u32; 6] = [
    uapi::VFIO_DEVICE_FEATURE_MIGRATION,
    uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
    6,
    7,
    9,
    12,
];
const DMA_LOGGING_REPORT: u32 = 8;

/// Length, flags and data as the kernel has them.
fn encode(argsz: u32, flags: u32, data: &FeatureData) -> [u8; 72] {
    let mut bytes = [0; 72];
    bytes[..4].copy_from_slice(&argsz.to_ne_bytes());
    bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..].copy_from_slice(data);
    bytes
}

/// Issues the ioctl with a length that need not be right.
///
/// A file that the kernel hands out in the data stays open: [`set_mig_state`] takes it.
///
/// # Panics
///
/// If the feature is not one of migration's, or its data holds an address that the kernel writes
/// to.
pub fn device_feature(
    fd: BorrowedFd<'_>,
    argsz: u32,
    flags: u32,
    data: &mut FeatureData,
) -> Result<(), Errno> {
    assert!(HARMLESS.contains(&(flags & uapi::VFIO_DEVICE_FEATURE_MASK)));
    let mut bytes = encode(argsz, flags, data);
    let call = Call {
        request: Request::DeviceFeature,
        argument: bytes.as_mut_ptr().cast(),
    };
    // SAFETY: whatever `argsz` says, the kernel reads and writes the structure of the feature,
    // which is smaller than the array; an address that START holds is only read.
    unsafe { ioctl::ioctl(fd, call) }?;
    data.copy_from_slice(&bytes[8..]);
    Ok(())
}

/// What the kernel answered to a change of state.
#[derive(Debug)]
pub struct Moved {
    /// `data_fd` as it came.
    pub data_fd: i32,
    /// The file that it names.
    pub file: Option<OwnedFd>,
}

/// Changes the migration state of a device.
pub fn set_mig_state(fd: BorrowedFd<'_>, state: u32) -> Result<Moved, Errno> {
    let mut data = [0; 64];
    data[..4].copy_from_slice(&state.to_ne_bytes());
    data[4..8].copy_from_slice(&(-77i32).to_ne_bytes());
    let flags = uapi::VFIO_DEVICE_FEATURE_SET | uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
    device_feature(fd, 16, flags, &mut data)?;
    let data_fd = i32::from_ne_bytes(data[4..8].try_into().expect("four bytes"));
    // SAFETY: a number that is not negative was written by the kernel, since -77 went in, and is a
    // new file descriptor that nothing else owns.
    let file = (data_fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(data_fd) });
    Ok(Moved { data_fd, file })
}

/// The range of a DMA log report.
#[derive(Clone, Copy, Debug)]
pub struct DmaReport {
    /// First I/O virtual address.
    pub iova: u64,
    /// Bytes.
    pub length: u64,
    /// Bytes that a bit stands for.
    pub page_size: u64,
}

/// Asks for the DMA log of a range; the bits are left in the mapping.
///
/// # Panics
///
/// If the mapping has no room for the bits.
pub fn dma_logging_report(
    fd: BorrowedFd<'_>,
    argsz: u32,
    operation: u32,
    report: DmaReport,
    bitmap: &Mapping,
) -> Result<(), Errno> {
    // One page more at each end, for a range that is not aligned.
    let bits = report.length / LEAST_PAGE + 2;
    assert!(bits.div_ceil(64) * 8 <= bitmap.len() as u64);
    let mut data = [0; 64];
    let words = [
        report.iova,
        report.length,
        report.page_size,
        bitmap.address(),
    ];
    for (word, at) in words.iter().zip((0..).step_by(8)) {
        data[at..at + 8].copy_from_slice(&word.to_ne_bytes());
    }
    let mut bytes = encode(argsz, operation | DMA_LOGGING_REPORT, &data);
    let call = Call {
        request: Request::DeviceFeature,
        argument: bytes.as_mut_ptr().cast(),
    };
    // SAFETY: the structure lies in the array. The kernel writes one bit for each page of at least
    // 4096 bytes of the range, for which the mapping has room, and into it no reference exists.
    unsafe { ioctl::ioctl(fd, call) }?;
    Ok(())
}

/// Asks a data file how much is left to save: `struct vfio_precopy_info`, with any length.
pub fn precopy_info(fd: BorrowedFd<'_>, bytes: &mut [u8; 24]) -> Result<(), Errno> {
    let call = Call {
        request: Request::MigGetPrecopyInfo,
        argument: bytes.as_mut_ptr().cast(),
    };
    // SAFETY: the request reads and writes this structure of 24 bytes.
    unsafe { ioctl::ioctl(fd, call) }?;
    Ok(())
}
