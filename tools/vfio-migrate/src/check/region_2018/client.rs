// SPDX-License-Identifier: GPL-2.0-only

//! A client of the migration region of November 2018 that does as little as possible on its own.

use rustix::io::Errno;

use crate::check::region::Raw;
use crate::check::{ensure, held, succeeds, Subject, Verdict, HELD};
use crate::migrate::protocol::Protocol;
use crate::migrate::region_2018::HEADER;

/// `pending.precopy_only`; `compatible` and `postcopy_only` follow it
pub const PENDING_FIELD: u64 = 4;
/// `pending.threshold_size`
pub const THRESHOLD: u64 = 28;
/// `data.offset`
pub const DATA_OFFSET: u64 = 36;
/// `data.size`
pub const DATA_SIZE: u64 = 44;
/// `dirty_pfns.start_addr`
pub const START: u64 = 52;
/// `dirty_pfns.total`
pub const TOTAL: u64 = 60;
/// `dirty_pfns.copied`
pub const COPIED: u64 = 68;

/// Opens the device and makes it run.
pub fn open(subject: &Subject) -> Verdict<Raw> {
    Raw::open(subject, Protocol::Region2018, HEADER)
}

/// Reads the sum of the three pending counts.
pub fn left(region: &Raw) -> Verdict<u64> {
    let mut sum = 0u64;
    for n in 0..3 {
        sum = sum.saturating_add(region.u64(PENDING_FIELD + 8 * n)?);
    }
    Ok(sum)
}

/// Takes all buffers of a stopped source.
pub fn drain(region: &Raw, image: &mut Vec<u8>) -> Verdict {
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

/// Saves the running device, which runs again afterwards.
pub fn save(region: &Raw) -> Verdict<Vec<u8>> {
    let mut image = Vec::new();
    region.set(4)?;
    drain(region, &mut image)?;
    region.set(5)?;
    region.set(1)?;
    ensure(!image.is_empty(), || "the image is empty".into())?;
    Ok(image)
}

/// Hands a buffer over.
pub fn put(region: &Raw, bytes: &[u8]) -> Result<(), Errno> {
    let mut at = [0; 8];
    region.read(DATA_OFFSET, &mut at)?;
    region.write(u64::from_le_bytes(at), bytes)?;
    region.write(DATA_OFFSET, &at)?;
    region.try_u64(DATA_SIZE, bytes.len() as u64)
}

/// Hands an image over, in buffers of at most `size` bytes.
pub fn put_all(region: &Raw, image: &[u8], size: usize) -> Verdict {
    // CAST: the size of the section.
    let room = region.section()?.size as usize;
    for piece in image.chunks(size.min(room)) {
        succeeds(put(region, piece), "handing a buffer over")?;
    }
    Ok(())
}

/// Loads an image into the running device, which runs again afterwards.
pub fn load(region: &Raw, image: &[u8], size: usize) -> Verdict {
    region.set(6)?;
    put_all(region, image, size)?;
    region.set(7)?;
    region.set(1)
}

/// Takes a running device to a state.
pub fn go(region: &Raw, state: u32, image: &[u8]) -> Verdict {
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
