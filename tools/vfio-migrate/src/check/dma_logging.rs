// SPDX-License-Identifier: GPL-2.0-only

//! DMA logging: what a device claims, the order of calls, and their arguments.

use rustix::io::Errno;

mod client;
mod report;

use super::v2::{GET, PROBE, SET};
use super::{ensure, fails, fails_with, not_applicable, succeeds, Check, Subject, Verdict};
use crate::sys::page_size;
use client::{
    answers, running, Log, IOVA, LENGTH, LOGGED, PAGE, RANGE, REPORT_ARGSZ, START, START_ARGSZ,
    STOP,
};

const CLAIM: &str = "vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_*: PROBE detects support; a device \
    that answers it must START, REPORT and STOP";
const TOGETHER: &str = "vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_*: START, STOP and REPORT are one \
    feature; all of them answer PROBE, or none";
const ONCE: &str = "vfio.h, DMA_LOGGING_START: another start is not allowed before the stop";
const DISABLED: &str = "vfio.h, DMA_LOGGING_REPORT: if DMA logging is not enabled, an error will \
    be returned";
const RANGES: &str = "drivers/vfio/vfio_main.c, DMA_LOGGING_START: ranges are multiples of the \
    page size that do not overlap (EINVAL) and stay in the address space (EOVERFLOW); there is at \
    least one";
const MOST: &str = "drivers/vfio/vfio_main.c, DMA_LOGGING_START: more ranges than fit into a page \
    of the kernel's are refused (E2BIG); vfio.h lets user space try more and give up";
const REPORT: &str = "vfio.h, DMA_LOGGING_REPORT: page_size is a power of two; vfio_main.c: argsz \
    covers the structure, a page has 4096 bytes at least (EINVAL), the range stays in the address \
    space (EOVERFLOW)";
const OPERATIONS: &str = "vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_*: START and STOP are for SET, \
    REPORT is for GET; vfio_main.c: EINVAL otherwise";

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("dma-logging.claim", CLAIM, claim),
        Check::new("dma-logging.probe-together", TOGETHER, together),
        Check::new("dma-logging.operations", OPERATIONS, operations),
        Check::new("dma-logging.second-start", ONCE, second_start),
        Check::new("dma-logging.report-before-start", DISABLED, |subject| {
            let open = running(subject)?;
            let log = Log::new(&open)?;
            let before = log.report(PAGE);
            log.reports()?;
            fails(before, "REPORT before START").map(drop)
        }),
        Check::new("dma-logging.report-after-stop", DISABLED, |subject| {
            let open = running(subject)?;
            let log = Log::new(&open)?;
            log.reports()?;
            fails(log.report(PAGE), "REPORT after STOP").map(drop)
        }),
        Check::new("dma-logging.ranges", RANGES, ranges),
        Check::new("dma-logging.too-many-ranges", MOST, too_many_ranges),
        Check::new("dma-logging.report-arguments", REPORT, report_arguments),
    ];
    checks.extend(report::checks());
    checks
}

fn claim(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.begin()?;
    succeeds(log.report(PAGE), "REPORT")?;
    succeeds(log.stop(), "STOP")
}

fn together(subject: &Subject) -> Verdict {
    match answers(&subject.open()?) {
        [false, false, false] => not_applicable("the device does not offer DMA logging"),
        [start, stop, report] => ensure(start && stop && report, || {
            format!("PROBE of START, STOP, REPORT: {start}, {stop}, {report}")
        }),
    }
}

fn operations(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    for (name, feature, argsz) in [("START", START, START_ARGSZ), ("STOP", STOP, 8)] {
        for (what, operation) in [("GET", GET), ("PROBE of GET", GET | PROBE)] {
            let result = open
                .device
                .raw_feature(argsz, operation | feature, &mut [0; 64]);
            fails_with(result, Errno::INVAL, &format!("{what} of {name}"))?;
        }
    }
    for (what, operation) in [("SET", SET), ("PROBE of SET", SET | PROBE)] {
        let result = log.call(REPORT_ARGSZ, operation, IOVA, LENGTH, PAGE);
        fails_with(result, Errno::INVAL, &format!("{what} of REPORT"))?;
    }
    Ok(())
}

fn second_start(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.begin()?;
    fails(log.start(PAGE, &[(IOVA, LOGGED)]), "a second START").map(drop)
}

/// Tries starts with wrong ranges between two correct ones, so that only the ranges can be the
/// cause.
fn ranges(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.begin()?;
    succeeds(log.stop(), "STOP")?;
    let overlap = [(IOVA, 2 * PAGE), (IOVA + PAGE, 2 * PAGE)];
    let beyond = [(u64::MAX - PAGE + 1, 2 * PAGE)];
    for (what, errno, ranges) in [
        ("without a range", Errno::INVAL, &[][..]),
        (
            "with an unaligned address",
            Errno::INVAL,
            &[(IOVA + 1, PAGE)],
        ),
        (
            "with an unaligned length",
            Errno::INVAL,
            &[(IOVA, PAGE + 1)],
        ),
        ("with ranges that overlap", Errno::INVAL, &overlap),
        ("beyond the address space", Errno::OVERFLOW, &beyond),
    ] {
        fails_with(log.start(PAGE, ranges), errno, &format!("START {what}"))?;
    }
    log.begin()?;
    succeeds(log.stop(), "STOP")
}

/// Starts with too many ranges are refused and log nothing: the next start is the first.
fn too_many_ranges(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.begin()?;
    succeeds(log.stop(), "STOP")?;
    for count in [page_size() / RANGE + 1, 1 << 16] {
        // CAST: some thousands.
        let ranges: Vec<_> = (0..count as u64)
            .map(|n| (IOVA + 2 * n * PAGE, PAGE))
            .collect();
        let what = format!("START with {count} ranges");
        fails_with(log.start(PAGE, &ranges), Errno::TOOBIG, &what)?;
    }
    log.begin()?;
    succeeds(log.stop(), "STOP")
}

fn report_arguments(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.reports()?;
    log.begin()?;
    succeeds(log.report(PAGE), "REPORT")?;
    for page_size in [0, 2048, PAGE - 1, PAGE + 1, 3 * PAGE] {
        let what = format!("REPORT with pages of {page_size} bytes");
        fails_with(log.report(page_size), Errno::INVAL, &what)?;
    }
    let short = log.call(REPORT_ARGSZ - 1, GET, IOVA, LENGTH, PAGE);
    fails_with(short, Errno::INVAL, "REPORT with argsz 39")?;
    let beyond = log.report_of(u64::MAX - PAGE + 1, 2 * PAGE, PAGE);
    fails_with(beyond, Errno::OVERFLOW, "REPORT beyond the address space")?;
    succeeds(log.stop(), "STOP")
}
