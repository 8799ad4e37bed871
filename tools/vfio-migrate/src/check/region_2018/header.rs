// SPDX-License-Identifier: GPL-2.0-only

//! The region as Discovery and the access rules of uapi.rst have it: header, gap, data section.

use rustix::io::Errno;

use super::client::{open, COPIED, DATA_OFFSET, START, THRESHOLD};
use crate::check::region::Raw;
use crate::check::{ensure, fails_with, succeeds, Subject, Verdict};
use crate::migrate::protocol::Protocol;
use crate::migrate::region_2018::HEADER;
use crate::sys::page_size;

/// The region has its flags, one area and the state RUNNING.
pub fn info(subject: &Subject) -> Verdict {
    let region = Raw::open_fresh(subject, Protocol::Region2018, HEADER)?;
    let info = &region.info;
    ensure(info.readable && info.writable && info.mappable, || {
        "it lacks one of READ, WRITE and MMAP".into()
    })?;
    let area = region.section()?;
    ensure(
        area.offset >= HEADER && area.offset + area.size == info.size,
        || format!("{} bytes at {} of {}", area.size, area.offset, info.size),
    )?;
    let offset = region.u64(DATA_OFFSET)?;
    ensure(offset == area.offset, || {
        format!("data.offset reads {offset}")
    })?;
    region.is_in(1, "after open")
}

/// Halves of a 64-bit field take effect in order.
pub fn halves(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let value = 0x0000_0001_0000_2000u64.to_le_bytes();
    for field in [THRESHOLD, START] {
        fails_with(
            region.write(field + 4, &value[4..]),
            Errno::INVAL,
            "writing a high half first",
        )?;
        let before = region.u64(field)?;
        succeeds(region.write(field, &value[..4]), "writing a low half")?;
        ensure(region.u64(field)? == before, || {
            "a low half alone takes effect".into()
        })?;
        succeeds(region.write(field, &value[..4]), "writing a low half")?;
        succeeds(
            region.write(field + 4, &value[4..]),
            "writing the high half",
        )?;
        ensure(region.u64(field)?.to_le_bytes() == value, || {
            "both halves do not make the value".into()
        })?;
        let mut half = [0; 4];
        fails_with(
            region.read(field + 4, &mut half),
            Errno::INVAL,
            "reading a high half first",
        )?;
        succeeds(region.read(field, &mut half), "reading a low half")?;
        ensure(half == value[..4], || "the low half differs".into())?;
        succeeds(region.read(field + 4, &mut half), "reading the high half")?;
        ensure(half == value[4..], || "the high half differs".into())?;
    }
    Ok(())
}

/// Nothing can be accessed between header and data section.
pub fn gap(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let start = region.section()?.offset;
    // CAST: the size of a page.
    ensure(start >= page_size() as u64, || {
        format!("the data section begins at {start}, before the first page ends")
    })?;
    for at in [HEADER, HEADER + 4, 128, start - 8, start - 1] {
        for len in [1usize, 4, 8, 16] {
            let what = format!("{len} bytes at {at}");
            let read = region.read(at, &mut vec![0; len]);
            fails_with(read, Errno::INVAL, &format!("reading {what}"))?;
            let write = region.write(at, &vec![0; len]);
            fails_with(write, Errno::INVAL, &format!("writing {what}"))?;
        }
    }
    Ok(())
}

/// Fields that are read-only refuse writes.
pub fn read_only(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for state in [1, 4, 6] {
        region.set(state)?;
        for field in [4, 12, 20, COPIED] {
            let what = format!("writing the field at {field}");
            fails_with(region.try_u64(field, 0), Errno::INVAL, &what)?;
        }
        // The whole header includes read-only fields.
        // CAST: a small number.
        let write = region.write(0, &[0; HEADER as usize]);
        fails_with(write, Errno::INVAL, "writing the whole header")?;
        region.is_in(state, "after it")?;
        region.reset()?;
    }
    Ok(())
}

/// Fields keep what was written.
pub fn keep(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for (field, value) in [(THRESHOLD, 12345), (THRESHOLD, 0), (START, 0x1234_5000)] {
        succeeds(region.try_u64(field, value), "writing a field")?;
        let found = region.u64(field)?;
        ensure(found == value, || {
            format!("the field at {field} reads {found}")
        })?;
    }
    let result = region.try_u64(START, 0x1001);
    fails_with(result, Errno::INVAL, "an unaligned start_addr")
}

/// The data section takes accesses of any width, and cuts them at its end.
pub fn section(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let area = region.section()?;
    for len in [1usize, 2, 3, 5, 8, 17, 4096] {
        for at in [0, 1, 7] {
            // CAST: widening.
            if at + len as u64 > area.size {
                continue;
            }
            let bytes: Vec<u8> = (0..len).map(|n| n as u8 ^ 0x5a).collect();
            let mut found = vec![0; len];
            succeeds(
                region.write(area.offset + at, &bytes),
                "writing the data section",
            )?;
            succeeds(region.read(area.offset + at, &mut found), "reading it")?;
            ensure(found == bytes, || format!("{len} bytes at {at} differ"))?;
        }
    }
    let end = region.info.offset + region.info.size;
    let device = &region.open.device;
    let found = succeeds(
        device.raw_read(end - 3, &mut [0; 8]),
        "reading across the end",
    )?;
    ensure(found == 3, || {
        format!("reading across the end returns {found}")
    })?;
    let found = succeeds(device.raw_write(end - 2, &[0; 8]), "writing across the end")?;
    ensure(found == 2, || {
        format!("writing across the end returns {found}")
    })?;
    fails_with(
        device.raw_read(end, &mut [0]),
        Errno::INVAL,
        "reading at the end",
    )?;
    fails_with(
        device.raw_write(end, &[0]),
        Errno::INVAL,
        "writing at the end",
    )
}
