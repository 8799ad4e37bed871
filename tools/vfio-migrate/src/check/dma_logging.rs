// SPDX-License-Identifier: GPL-2.0-only

//! DMA logging: what a device claims, and its arguments.

use rustix::io::Errno;

use super::subject::Open;
use super::v2::{GET, PROBE, SET};
use super::{ensure, fails, fails_with, not_applicable, succeeds, Check, Subject, Verdict};
use crate::error::explain;
use crate::sys::{DmaReport, Mapping};

const CLAIM: &str = "vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_*: PROBE detects support; a device \
    that answers it must START, REPORT and STOP";
const TOGETHER: &str = "vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_*: START, STOP and REPORT are one \
    feature; all of them answer PROBE, or none";
const ONCE: &str = "vfio.h, DMA_LOGGING_START: another start is not allowed before the stop";
const DISABLED: &str = "vfio.h, DMA_LOGGING_REPORT: if DMA logging is not enabled, an error will \
    be returned";
const RANGES: &str = "drivers/vfio/vfio_main.c, DMA_LOGGING_START: ranges are multiples of the \
    page size that do not overlap and stay in the address space; there is at least one";
const REPORT: &str = "vfio.h, DMA_LOGGING_REPORT: page_size is a power of two; argsz covers the \
    structure";

const START: u32 = 6;
const STOP: u32 = 7;
const IOVA: u64 = 0x0100_0000;
const PAGE: u64 = 4096;
/// What is logged: devices have a least size, and VMMs have all the memory of a guest logged.
const LOGGED: u64 = 1 << 30;
/// What is reported of it.
const LENGTH: u64 = 1 << 20;

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new("dma-logging.claim", CLAIM, claim),
        Check::new("dma-logging.probe-together", TOGETHER, together),
        Check::new("dma-logging.second-start", ONCE, second_start),
        Check::new("dma-logging.report-before-start", DISABLED, |subject| {
            let log = Log::open(subject)?;
            let before = log.report(PAGE, LENGTH);
            log.reports()?;
            fails(before, "REPORT before START").map(drop)
        }),
        Check::new("dma-logging.report-after-stop", DISABLED, |subject| {
            let log = Log::open(subject)?;
            log.reports()?;
            fails(log.report(PAGE, LENGTH), "REPORT after STOP").map(drop)
        }),
        Check::new("dma-logging.ranges", RANGES, ranges),
        Check::new("dma-logging.report-arguments", REPORT, report_arguments),
    ]
}

/// A device that answers PROBE.
struct Log {
    open: Open,
    bitmap: Mapping,
    memory: Mapping,
}

fn answers(open: &Open) -> [bool; 3] {
    let bitmap = Mapping::anonymous(4096).expect("a page of memory");
    let nothing = DmaReport {
        iova: 0,
        length: 0,
        page_size: PAGE,
    };
    let probe = |feature| {
        let mut data = [0; 64];
        open.device
            .raw_feature(32, PROBE | SET | feature, &mut data)
            .is_ok()
    };
    let report = open.device.dma_report(40, PROBE | GET, nothing, &bitmap);
    [probe(START), probe(STOP), report.is_ok()]
}

impl Log {
    fn open(subject: &Subject) -> Verdict<Self> {
        let open = subject.open()?;
        if answers(&open) == [false; 3] {
            return not_applicable("the device does not offer DMA logging");
        }
        let memory = |bytes| succeeds(Mapping::anonymous(bytes), "allocating memory");
        let log = Self {
            // CAST: some pages.
            memory: memory(LENGTH as usize)?,
            bitmap: memory(4096)?,
            open,
        };
        log.open.map(&log.memory, IOVA)?;
        Ok(log)
    }

    fn start(&self, page_size: u64, ranges: &[(u64, u64)]) -> Result<(), Errno> {
        let array = Mapping::anonymous(4096)?;
        let bytes: Vec<u8> = ranges
            .iter()
            .flat_map(|(iova, length)| [iova.to_ne_bytes(), length.to_ne_bytes()].concat())
            .collect();
        array.write(0, &bytes);
        let mut data = [0; 64];
        data[..8].copy_from_slice(&page_size.to_ne_bytes());
        // CAST: a handful.
        data[8..12].copy_from_slice(&(ranges.len() as u32).to_ne_bytes());
        data[16..24].copy_from_slice(&array.address().to_ne_bytes());
        self.open.device.raw_feature(32, SET | START, &mut data)
    }

    fn stop(&self) -> Result<(), Errno> {
        self.open.device.raw_feature(8, SET | STOP, &mut [0; 64])
    }

    fn report(&self, page_size: u64, length: u64) -> Result<(), Errno> {
        let report = DmaReport {
            iova: IOVA,
            length,
            page_size,
        };
        self.open.device.dma_report(40, GET, report, &self.bitmap)
    }

    /// Starts, reports and stops; leaves the check where the device never reports.
    fn reports(&self) -> Verdict {
        succeeds(self.start(PAGE, &[(IOVA, LOGGED)]), "START")?;
        let found = self.report(PAGE, LENGTH);
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

fn claim(subject: &Subject) -> Verdict {
    let log = Log::open(subject)?;
    succeeds(log.start(PAGE, &[(IOVA, LOGGED)]), "START")?;
    succeeds(log.report(PAGE, LENGTH), "REPORT")?;
    succeeds(log.stop(), "STOP")
}

fn together(subject: &Subject) -> Verdict {
    let [start, stop, report] = answers(&subject.open()?);
    ensure(start == stop && stop == report, || {
        format!("PROBE of START, STOP, REPORT: {start}, {stop}, {report}")
    })
}

fn second_start(subject: &Subject) -> Verdict {
    let log = Log::open(subject)?;
    succeeds(log.start(PAGE, &[(IOVA, LOGGED)]), "START")?;
    fails(log.start(PAGE, &[(IOVA, LOGGED)]), "a second START").map(drop)
}

fn ranges(subject: &Subject) -> Verdict {
    let log = Log::open(subject)?;
    let overlap = [(IOVA, 2 * PAGE), (IOVA + PAGE, 2 * PAGE)];
    for (what, ranges) in [
        ("START without a range", &[][..]),
        ("START with an unaligned address", &[(IOVA + 1, PAGE)]),
        ("START with an unaligned length", &[(IOVA, PAGE + 1)]),
        ("START with ranges that overlap", &overlap),
        (
            "START beyond the address space",
            &[(u64::MAX - PAGE + 1, 2 * PAGE)],
        ),
    ] {
        fails(log.start(PAGE, ranges), what)?;
    }
    Ok(())
}

fn report_arguments(subject: &Subject) -> Verdict {
    let log = Log::open(subject)?;
    succeeds(log.start(PAGE, &[(IOVA, LOGGED)]), "START")?;
    for page_size in [0, PAGE - 1, PAGE + 1, 3 * PAGE] {
        let what = format!("REPORT with pages of {page_size} bytes");
        fails(log.report(page_size, LENGTH), &what)?;
    }
    let short = log.open.device.dma_report(
        39,
        GET,
        DmaReport {
            iova: IOVA,
            length: LENGTH,
            page_size: PAGE,
        },
        &log.bitmap,
    );
    fails_with(short, Errno::INVAL, "REPORT with argsz 39")?;
    succeeds(log.stop(), "STOP")
}
