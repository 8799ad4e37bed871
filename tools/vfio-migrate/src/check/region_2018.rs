// SPDX-License-Identifier: GPL-2.0-only

//! The migration region of November 2018.

use rustix::io::Errno;

use super::region::Raw;
use super::v2::V2;
use super::{ensure, fails_with, held, succeeds, Check, Subject, Verdict, HELD};
use crate::migrate::protocol::Protocol;
use crate::migrate::region_2018::HEADER;
use crate::sys::page_size;

const INFO: &str = "uapi.rst, Discovery: READ, WRITE, MMAP, one sparse area, the data section, \
    which begins at a page after the header and reaches to the end";
const MMAP: &str = "uapi.rst, Discovery: mappings of the data section are shared and not \
    executable; any other mapping of the region fails";
const ACCESS: &str = "uapi.rst, Access rules: one whole field, several neighbours, or the halves \
    of a 64-bit field in order; everything else is EINVAL and changes nothing";
const READ_ONLY: &str = "uapi.rst, Access rules: a write that touches a read-only field is EINVAL";
const SECTION: &str = "uapi.rst, Access rules: the data section takes any width and alignment; an \
    access beyond its end is shortened, one that begins there is EINVAL";
const STATES: &str =
    "uapi.rst, States: the table of transitions; others are EINVAL and the device \
    stays as it is";
const COMPLETED: &str = "uapi.rst, States: SAVE_COMPLETED and RESUME_COMPLETED are EINVAL until \
    the whole image was handed out or taken";
const PENDING: &str = "uapi.rst, Get pending bytes: 0 unless an image is being produced";
const BUFFER: &str = "uapi.rst, Get a buffer: reading offset and size again returns the same; at \
    most threshold_size bytes";
const ONE_THING: &str = "uapi.rst, What the data section holds: one thing at a time; reading \
    data.offset has no effect; after a query data.size is the length of the bitmap";
const LOAD: &str = "uapi.rst, Set a buffer: the image is a stream of bytes and may be cut anywhere";
const REFUSED: &str = "uapi.rst, Set a buffer: an image that is refused fails that write; only \
    FAILED, CANCELLED or VFIO_DEVICE_RESET leads on";
const DIRTY: &str = "uapi.rst, Get dirty pages: total is EINVAL when no pages are recorded, when \
    it is 0, or when the range leaves the address space; copied reads the same until re-armed";
const CANCEL: &str = "uapi.rst, States: a source that goes back to RUNNING, by FAILED or by \
    CANCELLED, runs on with nothing lost and can be saved again";
const RESET: &str = "uapi.rst, States: VFIO_DEVICE_RESET is allowed in every state and leads to \
    RUNNING; the header then reads as after open";
const OWNER: &str = "uapi.rst, Other protocols: the first protocol that leaves its running state \
    owns the device; meanwhile writes of the others fail with EBUSY";

const PENDING_FIELD: u64 = 4;
const THRESHOLD: u64 = 28;
const DATA_OFFSET: u64 = 36;
const DATA_SIZE: u64 = 44;
const START: u64 = 52;
const TOTAL: u64 = 60;
const COPIED: u64 = 68;

/// Offsets at which fields begin, and the end.
const BOUNDS: [u64; 11] = [0, 4, 12, 20, 28, 36, 44, 52, 60, 68, HEADER];

const NAMES: [&str; 8] = [
    "NONE",
    "RUNNING",
    "SETUP",
    "PRECOPY",
    "STOPNCOPY",
    "SAVE_COMPLETED",
    "RESUME",
    "RESUME_COMPLETED",
];
/// For each state the ones that may be written, 8 and 9 being FAILED and CANCELLED.
const ALLOWED: [&[u32]; 8] = [
    &[0, 1, 4, 6, 8, 9],
    &[0, 1, 2, 4, 6, 8, 9],
    &[1, 2, 3, 4, 8, 9],
    &[1, 3, 4, 8, 9],
    &[1, 4, 5, 8, 9],
    &[1, 5, 8, 9],
    &[6, 7, 8, 9],
    &[1, 7, 8, 9],
];

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("region-2018.info", INFO, info),
        Check::new("region-2018.mmap-bounds", MMAP, |s| open(s)?.mmap_bounds()),
        Check::new("region-2018.mmap-protection", MMAP, |s| {
            open(s)?.mmap_protection()
        }),
        Check::new("region-2018.mmap-same-bytes", MMAP, |s| {
            open(s)?.mmap_is_the_section()
        }),
        Check::new("region-2018.widths", ACCESS, |s| {
            open(s)?.refuses_other_accesses(HEADER, |at, len| {
                let end = at + len as u64;
                let whole = BOUNDS.contains(&at) && BOUNDS.contains(&end);
                // A low half, or a high half, which the next check looks at.
                let half = len == 4 && at % 4 == 0 && at < HEADER;
                whole || half
            })
        }),
        Check::new("region-2018.halves", ACCESS, halves),
        Check::new("region-2018.gap", ACCESS, gap),
        Check::new("region-2018.read-only-fields", READ_ONLY, read_only),
        Check::new("region-2018.fields-keep-values", ACCESS, keep),
        Check::new("region-2018.data-section", SECTION, section),
        Check::new("region-2018.unknown-states", STATES, unknown),
        Check::new("region-2018.pending-when-not-saving", PENDING, pending),
        Check::new("region-2018.staged-buffer-stays", BUFFER, staged),
        Check::new("region-2018.threshold", BUFFER, threshold),
        Check::new("region-2018.save-completed", COMPLETED, save_completed),
        Check::new("region-2018.resume-completed", COMPLETED, resume_completed),
        Check::new("region-2018.truncated", COMPLETED, truncated),
        Check::new("region-2018.bit-flips", REFUSED, bit_flips),
        Check::new("region-2018.trailing", REFUSED, trailing),
        Check::new("region-2018.buffer-arguments", LOAD, buffer_arguments),
        Check::new("region-2018.dirty-arguments", DIRTY, dirty_arguments),
        Check::new("region-2018.dirty-query", DIRTY, dirty_query),
        Check::new("region-2018.queries-between-buffers", ONE_THING, between),
        Check::new("region-2018.owner", OWNER, owner),
    ];
    for (from, name) in (0..).zip(NAMES) {
        checks.push(Check::new(
            format!("region-2018.from-{name}"),
            STATES,
            move |subject| transitions(subject, from),
        ));
        checks.push(Check::new(
            format!("region-2018.reset-in-{name}"),
            RESET,
            move |subject| reset_in(subject, from),
        ));
    }
    for size in [1, 8, 4096, 1 << 20] {
        checks.push(Check::new(
            format!("region-2018.load-by-{size}"),
            LOAD,
            move |subject| {
                let region = open(subject)?;
                let image = save(&region)?;
                load(&region, &image, size)
            },
        ));
    }
    for (value, name) in [(1, "RUNNING"), (8, "FAILED"), (9, "CANCELLED")] {
        checks.push(Check::new(
            format!("region-2018.source-back-by-{name}"),
            CANCEL,
            move |subject| back(subject, value),
        ));
    }
    checks
}

fn open(subject: &Subject) -> Verdict<Raw> {
    Raw::open(subject, Protocol::Region2018, HEADER)
}

/// What is left, by the three counts.
fn left(region: &Raw) -> Verdict<u64> {
    let mut sum = 0u64;
    for n in 0..3 {
        sum = sum.saturating_add(region.u64(PENDING_FIELD + 8 * n)?);
    }
    Ok(sum)
}

/// Takes all buffers of a stopped source.
fn drain(region: &Raw, image: &mut Vec<u8>) -> Verdict {
    held(left(region)?)?;
    loop {
        let size = region.u64(DATA_SIZE)?;
        if size == 0 {
            return Ok(());
        }
        region.copy_out(region.u64(DATA_OFFSET)?, size, image)?;
        left(region)?;
        ensure(image.len() < HELD, || "the image does not end".into())?;
    }
}

/// Takes the image of the running device, which runs again then.
fn save(region: &Raw) -> Verdict<Vec<u8>> {
    let mut image = Vec::new();
    region.set(4)?;
    drain(region, &mut image)?;
    region.set(5)?;
    region.set(1)?;
    ensure(!image.is_empty(), || "the image is empty".into())?;
    Ok(image)
}

fn put(region: &Raw, bytes: &[u8]) -> Result<(), Errno> {
    let mut at = [0; 8];
    region.read(DATA_OFFSET, &mut at)?;
    region.write(u64::from_le_bytes(at), bytes)?;
    region.write(DATA_OFFSET, &at)?;
    region.try_u64(DATA_SIZE, bytes.len() as u64)
}

fn put_all(region: &Raw, image: &[u8], size: usize) -> Verdict {
    // CAST: the size of the section.
    let room = region.section()?.size as usize;
    for piece in image.chunks(size.min(room)) {
        succeeds(put(region, piece), "handing a buffer over")?;
    }
    Ok(())
}

fn load(region: &Raw, image: &[u8], size: usize) -> Verdict {
    region.set(6)?;
    put_all(region, image, size)?;
    region.set(7)?;
    region.set(1)
}

/// Takes a running device to a state.
fn go(region: &Raw, state: u32, image: &[u8]) -> Verdict {
    match state {
        3 => {
            region.set(2)?;
            region.set(3)?;
        }
        5 => {
            region.set(4)?;
            drain(region, &mut Vec::new())?;
            region.set(5)?;
        }
        7 => {
            region.set(6)?;
            put_all(region, image, 1 << 20)?;
            region.set(7)?;
        }
        state => region.set(state)?,
    }
    region.is_in(state, "on the way")
}

fn info(subject: &Subject) -> Verdict {
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

fn halves(subject: &Subject) -> Verdict {
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

fn gap(subject: &Subject) -> Verdict {
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

fn read_only(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for state in [1, 4, 6] {
        region.set(state)?;
        for field in [4, 12, 20, COPIED] {
            let what = format!("writing the field at {field}");
            fails_with(region.try_u64(field, 0), Errno::INVAL, &what)?;
        }
        // All fields at once hold some that are read-only.
        // CAST: a small number.
        let write = region.write(0, &[0; HEADER as usize]);
        fails_with(write, Errno::INVAL, "writing the whole header")?;
        region.is_in(state, "after it")?;
        region.reset()?;
    }
    Ok(())
}

fn keep(subject: &Subject) -> Verdict {
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

fn section(subject: &Subject) -> Verdict {
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

fn unknown(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for state in [10, 11, 255, 1 << 16, u32::MAX] {
        let what = format!("device_state {state}");
        fails_with(region.try_u32(0, state), Errno::INVAL, &what)?;
        region.is_in(1, "after an unknown state")?;
    }
    Ok(())
}

fn pending(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for state in [0, 1, 6] {
        region.set(state)?;
        let found = left(&region)?;
        ensure(found == 0, || {
            format!("{found} bytes are pending in {state}")
        })?;
        region.reset()?;
    }
    Ok(())
}

fn staged(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    succeeds(region.try_u64(THRESHOLD, 64), "writing threshold_size")?;
    region.set(4)?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let size = region.u64(DATA_SIZE)?;
    region.copy_out(region.u64(DATA_OFFSET)?, size, &mut first)?;
    ensure(region.u64(DATA_SIZE)? == size, || {
        "data.size differs when read again".into()
    })?;
    region.copy_out(region.u64(DATA_OFFSET)?, size, &mut again)?;
    ensure(first == again, || {
        "the buffer differs when read again".into()
    })
}

fn threshold(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for most in [1, 100, 4096] {
        succeeds(region.try_u64(THRESHOLD, most), "writing threshold_size")?;
        region.set(4)?;
        for _ in 0..8 {
            let size = region.u64(DATA_SIZE)?;
            ensure(size <= most, || format!("{size} bytes of {most}"))?;
            left(&region)?;
        }
        region.reset()?;
    }
    Ok(())
}

fn save_completed(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    region.set(4)?;
    let what = "SAVE_COMPLETED before the image was handed out";
    fails_with(region.try_u32(0, 5), Errno::INVAL, what)?;
    region.is_in(4, "after it")?;
    drain(&region, &mut Vec::new())?;
    ensure(left(&region)? == 0, || {
        "bytes are pending at the end".into()
    })?;
    region.set(5)
}

fn resume_completed(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    region.set(6)?;
    let half = image.len() / 2;
    for part in [&image[..half], &image[half..]] {
        fails_with(
            region.try_u32(0, 7),
            Errno::INVAL,
            "RESUME_COMPLETED too early",
        )?;
        region.is_in(6, "after it")?;
        put_all(&region, part, 1 << 20)?;
    }
    region.set(7)?;
    region.set(1)
}

fn truncated(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for (length, way) in [(0, 8), (1, 9), (image.len() / 2, 8), (image.len() - 1, 9)] {
        region.set(6)?;
        put_all(&region, &image[..length], 1 << 20)?;
        let what = format!("RESUME_COMPLETED after {length} of {} bytes", image.len());
        fails_with(region.try_u32(0, 7), Errno::INVAL, &what)?;
        region.set(way)?;
        region.is_in(1, "after a load was given up")?;
    }
    load(&region, &image, 1 << 20)
}

fn bit_flips(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for n in 0..8 {
        let at = n * (image.len() - 1) / 7;
        let mut damaged = image.clone();
        damaged[at] ^= 1 << n;
        region.set(6)?;
        ensure(put_all(&region, &damaged, 1 << 20).is_err(), || {
            format!("a flipped bit at byte {at} is accepted")
        })?;
        let what = "a buffer after the image was refused";
        fails_with(put(&region, &image), Errno::INVAL, what)?;
        let what = "RESUME_COMPLETED after the image was refused";
        fails_with(region.try_u32(0, 7), Errno::INVAL, what)?;
        if n % 3 == 0 {
            region.reset()?;
        } else {
            region.set(if n % 3 == 1 { 8 } else { 9 })?;
        }
        region.is_in(1, "after the way back")?;
    }
    load(&region, &image, 1 << 20)
}

fn trailing(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for extra in [vec![0], image.clone()] {
        region.set(6)?;
        ensure(
            put_all(&region, &[&image[..], &extra].concat(), 1 << 20).is_err(),
            || format!("{} bytes beyond the end are accepted", extra.len()),
        )?;
        region.reset()?;
    }
    load(&region, &image, 1 << 20)
}

fn buffer_arguments(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let area = region.section()?;
    region.set(6)?;
    for offset in [0, HEADER, area.offset + 1, area.offset + 4096, u64::MAX] {
        let what = format!("data.offset {offset}");
        fails_with(region.try_u64(DATA_OFFSET, offset), Errno::INVAL, &what)?;
    }
    for size in [area.size + 1, 1 << 32, u64::MAX] {
        let what = format!("data.size {size}");
        fails_with(region.try_u64(DATA_SIZE, size), Errno::INVAL, &what)?;
    }
    region.reset()?;
    fails_with(
        region.try_u64(DATA_SIZE, 8),
        Errno::INVAL,
        "data.size of a device that takes no image",
    )
}

fn dirty_arguments(subject: &Subject) -> Verdict {
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

fn dirty_query(subject: &Subject) -> Verdict {
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
fn between(subject: &Subject) -> Verdict {
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

fn transitions(subject: &Subject, from: u32) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for to in 0..10u32 {
        go(&region, from, &image)?;
        // The whole image is there when a completed state is asked for.
        match (from, to) {
            (4, 5) => drain(&region, &mut Vec::new())?,
            (6, 7) => put_all(&region, &image, 1 << 20)?,
            _ => {}
        }
        let what = format!("{from} -> {to}");
        if ALLOWED[from as usize].contains(&to) {
            succeeds(region.try_u32(0, to), &what)?;
            region.is_in(if to >= 8 { 1 } else { to }, &format!("after {what}"))?;
        } else {
            fails_with(region.try_u32(0, to), Errno::INVAL, &what)?;
            region.is_in(from, &format!("after {what}"))?;
        }
        region.reset()?;
    }
    Ok(())
}

fn reset_in(subject: &Subject, state: u32) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    succeeds(region.try_u64(THRESHOLD, 4096), "writing threshold_size")?;
    go(&region, state, &image)?;
    region.reset()?;
    for field in [4, 12, 20, THRESHOLD, DATA_SIZE, START, TOTAL, COPIED] {
        let found = region.u64(field)?;
        ensure(found == 0, || {
            format!("after VFIO_DEVICE_RESET the field at {field} reads {found}")
        })?;
    }
    load(&region, &image, 1 << 20)
}

fn back(subject: &Subject, value: u32) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for state in [2, 3, 4, 5] {
        go(&region, state, &image)?;
        region.set(value)?;
        region.is_in(1, "after the way back")?;
        let again = save(&region)?;
        ensure(again == image, || {
            format!("the image differs after the way back from {state}")
        })?;
    }
    load(&region, &image, 1 << 20)
}

fn owner(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    drop(v2);
    let region = open(subject)?;
    region.set(4)?;
    let busy = region.open.device.set_mig_state(1);
    fails_with(busy, Errno::BUSY, "a change of state by v2")?;
    region.set(1)?;
    let session = region.open.device.set_mig_state(3);
    succeeds(session, "STOP_COPY by v2")?;
    fails_with(region.try_u32(0, 6), Errno::BUSY, "RESUME while v2 saves")?;
    let back = region.open.device.set_mig_state(2);
    succeeds(back, "RUNNING by v2")?;
    region.set(0)
}
