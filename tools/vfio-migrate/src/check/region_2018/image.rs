// SPDX-License-Identifier: GPL-2.0-only

//! The image on its way out and in, whole and damaged.

use rustix::io::Errno;

use super::client::{
    drain, left, load, open, put, put_all, save, DATA_OFFSET, DATA_SIZE, THRESHOLD,
};
use crate::check::{ensure, fails_with, succeeds, Subject, Verdict};
use crate::migrate::region_2018::HEADER;

/// Nothing is pending unless an image is being produced.
pub fn pending(subject: &Subject) -> Verdict {
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

/// A staged buffer can be read twice.
pub fn staged(subject: &Subject) -> Verdict {
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

/// No buffer is larger than `threshold_size`.
pub fn threshold(subject: &Subject) -> Verdict {
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

/// A save is complete only when the image was handed out.
pub fn save_completed(subject: &Subject) -> Verdict {
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

/// A load is complete only when the image was taken.
pub fn resume_completed(subject: &Subject) -> Verdict {
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

/// An image that is cut short is refused.
pub fn truncated(subject: &Subject) -> Verdict {
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

/// An image with a flipped bit is refused.
pub fn bit_flips(subject: &Subject) -> Verdict {
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

/// Bytes after the end of an image are refused.
pub fn trailing(subject: &Subject) -> Verdict {
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

/// Buffers outside the data section are refused.
pub fn buffer_arguments(subject: &Subject) -> Verdict {
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
