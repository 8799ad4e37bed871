// SPDX-License-Identifier: GPL-2.0-only

//! Queries for dirty pages, alone and between buffers.

use rustix::io::Errno;

use super::client::{left, open, save, COPIED, DATA_OFFSET, DATA_SIZE, START, THRESHOLD, TOTAL};
use crate::check::{ensure, fails_with, succeeds, Subject, Verdict, HELD};

/// Queries with wrong arguments are refused.
pub fn dirty_arguments(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    fails_with(
        region.try_u64(TOTAL, 1),
        Errno::INVAL,
        "total when nothing is recorded",
    )?;
    region.set(2)?;
    fails_with(region.try_u64(TOTAL, 0), Errno::INVAL, "total 0")?;
    succeeds(
        region.try_u64(START, 0u64.wrapping_sub(4096)),
        "the last start_addr",
    )?;
    fails_with(
        region.try_u64(TOTAL, 2),
        Errno::INVAL,
        "a range beyond the address space",
    )?;
    succeeds(region.try_u64(START, 0), "start_addr 0")?;
    fails_with(
        region.try_u64(TOTAL, u64::MAX),
        Errno::INVAL,
        "total of 2^64 - 1",
    )?;
    region.is_in(2, "after wrong queries")
}

/// A query is answered, and again with the same number.
pub fn dirty_query(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    region.set(2)?;
    let total = 100_000;
    succeeds(region.try_u64(START, 0), "start_addr")?;
    succeeds(region.try_u64(TOTAL, total), "total")?;
    let copied = region.u64(COPIED)?;
    ensure(copied <= total, || format!("copied is {copied} of {total}"))?;
    let again = region.u64(COPIED)?;
    ensure(copied == again, || {
        format!("copied reads {copied} and then {again}")
    })
}

/// A query before each buffer, in the order of clients that read the offset after `copied`.
pub fn between(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let expected = save(&region)?;
    succeeds(region.try_u64(THRESHOLD, 1000), "writing threshold_size")?;
    region.set(2)?;
    let mut image = Vec::new();
    for state in [3, 4] {
        region.set(state)?;
        loop {
            succeeds(region.try_u64(START, 0), "start_addr")?;
            succeeds(region.try_u64(TOTAL, 100_000), "total")?;
            let copied = region.u64(COPIED)?;
            let mut bitmap = Vec::new();
            region.copy_out(region.section()?.offset, copied.div_ceil(8), &mut bitmap)?;
            let offset = region.u64(DATA_OFFSET)?;
            let size = region.u64(DATA_SIZE)?;
            ensure(size == copied.div_ceil(8), || {
                format!("data.size is {size} after a query that covers {copied} pages")
            })?;
            let mut again = Vec::new();
            region.copy_out(offset, size, &mut again)?;
            ensure(bitmap == again, || {
                "reading data.offset or data.size changes the bitmap".into()
            })?;
            left(&region)?;
            let size = region.u64(DATA_SIZE)?;
            if size == 0 {
                break;
            }
            region.copy_out(region.u64(DATA_OFFSET)?, size, &mut image)?;
            ensure(image.len() < HELD, || "the image does not end".into())?;
        }
    }
    region.set(5)?;
    region.set(1)?;
    ensure(image == expected, || {
        "the image differs from one without queries".into()
    })
}
