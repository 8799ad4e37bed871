// SPDX-License-Identifier: GPL-2.0-only

//! A client of DMA logging that does as little as possible on its own.

use rustix::io::Errno;

use crate::check::subject::{Open, Subject};
use crate::check::v2::{GET, PROBE, SET, V2};
use crate::check::{not_applicable, succeeds, Finding, Verdict};
use crate::error::explain;
use crate::sys::{DmaReport, Mapping};

/// `VFIO_DEVICE_FEATURE_DMA_LOGGING_START`
pub const START: u32 = 6;
/// `VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP`
pub const STOP: u32 = 7;
/// Bytes of a page, unless a check is about others.
pub const PAGE: u64 = 4096;
/// I/O virtual address of the memory that is logged and reported.
pub const IOVA: u64 = 0x0100_0000;
/// Bytes that are logged: devices have a least size, and a VMM logs all the memory of a guest.
pub const LOGGED: u64 = 1 << 30;
/// Bytes of it that are reported.
pub const LENGTH: u64 = 1 << 20;
/// Bytes of `struct vfio_device_feature_dma_logging_range`.
pub const RANGE: usize = 16;
/// Length of the arguments of START.
pub const START_ARGSZ: u32 = 32;
/// Length of the arguments of REPORT.
pub const REPORT_ARGSZ: u32 = 40;

/// Opens the device, and resets it if v2 says that it does not run. Other checks judge what a close
/// leaves.
pub fn running(subject: &Subject) -> Verdict<Open> {
    match V2::open_fresh(subject) {
        Ok(v2) => {
            v2.recover()?;
            Ok(v2.open)
        }
        Err(Finding::NotApplicable(_)) => Ok(subject.open()?),
        Err(finding) => Err(finding),
    }
}

/// Which of START, STOP and REPORT answer PROBE.
pub fn answers(open: &Open) -> [bool; 3] {
    let bitmap = Mapping::anonymous(4096).expect("a page of memory");
    let nothing = DmaReport {
        iova: 0,
        length: 0,
        page_size: PAGE,
    };
    let probe = |feature| {
        let mut data = [0; 64];
        open.device
            .raw_feature(START_ARGSZ, PROBE | SET | feature, &mut data)
            .is_ok()
    };
    let report = open
        .device
        .dma_report(REPORT_ARGSZ, PROBE | GET, nothing, &bitmap);
    [probe(START), probe(STOP), report.is_ok()]
}

/// A device that answers PROBE.
pub struct Log<'a> {
    open: &'a Open,
    /// A page for the bits.
    pub bitmap: Mapping,
    /// Memory behind the reported part of the range.
    _memory: Mapping,
}

impl<'a> Log<'a> {
    /// Prepares a log; not applicable if the device does not offer DMA logging.
    pub fn new(open: &'a Open) -> Verdict<Self> {
        if answers(open) == [false; 3] {
            return not_applicable("the device does not offer DMA logging");
        }
        let memory = |bytes| succeeds(Mapping::anonymous(bytes), "allocating memory");
        // CAST: some pages.
        let reached = memory(LENGTH as usize)?;
        open.map(&reached, IOVA)?;
        Ok(Self {
            open,
            bitmap: memory(4096)?,
            _memory: reached,
        })
    }

    /// START; returns the page size that the device has selected.
    pub fn start(&self, page_size: u64, ranges: &[(u64, u64)]) -> Result<u64, Errno> {
        let bytes: Vec<u8> = ranges
            .iter()
            .flat_map(|(iova, length)| [iova.to_ne_bytes(), length.to_ne_bytes()].concat())
            .collect();
        let array = Mapping::anonymous(bytes.len().max(1))?;
        array.write(0, &bytes);
        let mut data = [0; 64];
        data[..8].copy_from_slice(&page_size.to_ne_bytes());
        // CAST: some hundreds at most.
        data[8..12].copy_from_slice(&(ranges.len() as u32).to_ne_bytes());
        data[16..24].copy_from_slice(&array.address().to_ne_bytes());
        self.open
            .device
            .raw_feature(START_ARGSZ, SET | START, &mut data)?;
        Ok(u64::from_ne_bytes(
            data[..8].try_into().expect("eight bytes"),
        ))
    }

    /// START as a VMM does it.
    pub fn begin(&self) -> Verdict<u64> {
        succeeds(self.start(PAGE, &[(IOVA, LOGGED)]), "START")
    }

    /// STOP.
    pub fn stop(&self) -> Result<(), Errno> {
        self.open.device.raw_feature(8, SET | STOP, &mut [0; 64])
    }

    /// REPORT of any range.
    pub fn report_of(&self, iova: u64, length: u64, page_size: u64) -> Result<(), Errno> {
        self.call(REPORT_ARGSZ, GET, iova, length, page_size)
    }

    /// REPORT of the usual range.
    pub fn report(&self, page_size: u64) -> Result<(), Errno> {
        self.report_of(IOVA, LENGTH, page_size)
    }

    /// REPORT with any length of arguments and any operation.
    pub fn call(
        &self,
        argsz: u32,
        operation: u32,
        iova: u64,
        length: u64,
        page_size: u64,
    ) -> Result<(), Errno> {
        let report = DmaReport {
            iova,
            length,
            page_size,
        };
        self.open
            .device
            .dma_report(argsz, operation, report, &self.bitmap)
    }

    /// Starts, reports and stops; not applicable if the device does not report.
    pub fn reports(&self) -> Verdict {
        self.begin()?;
        let found = self.report(PAGE);
        succeeds(self.stop(), "STOP")?;
        match found {
            Ok(()) => Ok(()),
            Err(errno) => not_applicable(format!(
                "REPORT fails between START and STOP, too: {}",
                explain(errno)
            )),
        }
    }
}
