// SPDX-License-Identifier: GPL-2.0-only

//! DMA logging: what START selects, what REPORT writes, and the states of migration.

use super::client::{running, Log, IOVA, LENGTH, LOGGED, PAGE, RANGE};
use crate::check::v2::{State, STATES, V2};
use crate::check::{ensure, succeeds, Check, Subject, Verdict};
use crate::sys::page_size;

const STATE: &str = "vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_*: this API is not connected to \
    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE; logging goes on from START to STOP whatever the state";
const SETS: &str = "vfio.h, DMA_LOGGING_REPORT: it will only set bits in the bitmap and never \
    clear or perform any initialization of it; the bitmap has 1 bit for each page_size";
const PAGES: &str = "vfio.h, DMA_LOGGING_REPORT: page_size can be any power of two and does not \
    have to match the value given to START";
const SELECTED: &str = "vfio.h, DMA_LOGGING_START: page_size is a hint; on output the device will \
    return the page size it selected, which is a power of two";
const MANY: &str = "vfio.h, DMA_LOGGING_START: the core kernel code guarantees to support by \
    minimum num_ranges that fit into a single kernel page";

/// Pages of 8 KiB, 64 KiB and 2 MiB.
const OTHERS: [u64; 3] = [8 << 10, 64 << 10, 2 << 20];
/// Bytes of one of many ranges; together they are as long as the single range.
const PART: u64 = 4 << 20;

/// The checks of this area that ask for a report.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("dma-logging.selected-page-size", SELECTED, selected),
        Check::new("dma-logging.many-ranges", MANY, many_ranges),
        Check::new("dma-logging.report-only-sets-bits", SETS, only_sets),
    ];
    for size in OTHERS {
        checks.push(Check::new(
            format!("dma-logging.report-by-{size}"),
            PAGES,
            move |subject| report_by(subject, size),
        ));
    }
    // Only the source of a migration is logged, not the device that is loaded.
    let states = STATES
        .into_iter()
        .filter(|state| !matches!(state, State::Error | State::Running | State::Resuming));
    for state in states {
        checks.push(Check::new(
            format!("dma-logging.in-{state}"),
            STATE,
            move |subject| in_state(subject, state),
        ));
    }
    checks
}

fn in_state(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    let log = Log::new(&v2.open)?;
    log.reports()?;
    log.begin()?;
    let session = v2.set(state)?;
    succeeds(log.report(PAGE), &format!("REPORT in {state}"))?;
    drop(session);
    v2.set(State::Running)?;
    let what = format!("REPORT in RUNNING after {state}");
    succeeds(log.report(PAGE), &what)?;
    succeeds(log.stop(), &format!("STOP after {state}"))
}

fn selected(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    for hint in [PAGE].into_iter().chain(OTHERS) {
        let what = format!("START with pages of {hint} bytes");
        let found = succeeds(log.start(hint, &[(IOVA, LOGGED)]), &what)?;
        succeeds(log.stop(), "STOP")?;
        ensure(found.is_power_of_two(), || {
            format!("{what} returns the page size {found}")
        })?;
    }
    Ok(())
}

fn many_ranges(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.reports()?;
    // CAST: some hundreds.
    let count = (page_size() / RANGE) as u64;
    let ranges: Vec<_> = (0..count).map(|n| (IOVA + n * 2 * PART, PART)).collect();
    let what = format!("START with {count} ranges");
    succeeds(log.start(PAGE, &ranges), &what)?;
    for (iova, _) in [ranges[0], ranges[ranges.len() - 1]] {
        let what = format!("REPORT at {iova:#x} of {count} ranges");
        succeeds(log.report_of(iova, LENGTH, PAGE), &what)?;
    }
    succeeds(log.stop(), "STOP")
}

/// A bitmap of ones shows whether bits are cleared, one of zeroes whether any is set behind the
/// end.
fn only_sets(subject: &Subject) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.reports()?;
    log.begin()?;
    for fill in [0xff, 0] {
        look_at_bits(&log, LENGTH, PAGE, fill)?;
    }
    succeeds(log.stop(), "STOP")
}

fn report_by(subject: &Subject, size: u64) -> Verdict {
    let open = running(subject)?;
    let log = Log::new(&open)?;
    log.reports()?;
    log.begin()?;
    for fill in [0xff, 0] {
        look_at_bits(&log, LENGTH.max(2 * size), size, fill)?;
    }
    succeeds(log.stop(), "STOP")
}

/// Asks for a report into a bitmap filled with `fill`, and demands that only bits of the range are
/// set.
fn look_at_bits(log: &Log<'_>, length: u64, size: u64, fill: u8) -> Verdict {
    let mut bits = vec![fill; log.bitmap.len()];
    log.bitmap.write(0, &bits);
    let what = format!("REPORT with pages of {size} bytes");
    succeeds(log.report_of(IOVA, length, size), &what)?;
    log.bitmap.read(0, &mut bits);
    // CAST: bits of a page. The bitmap is an array of words of 64.
    let end = (length / size).div_ceil(64) as usize * 8;
    ensure(bits[end..].iter().all(|byte| *byte == fill), || {
        format!("{what} writes behind the {end} bytes of its bitmap")
    })?;
    let kept = bits[..end].iter().all(|byte| byte & fill == fill);
    ensure(kept, || format!("{what} clears bits"))
}
