// SPDX-License-Identifier: GPL-2.0-only

//! The migration region of Linux 5.8 to 5.17.

use rustix::io::Errno;

use super::region::Raw;
use super::{
    ensure, fail, fails, fails_with, held, succeeds, Check, Finding, Subject, Verdict, HELD,
};
use crate::migration::Protocol;

const INFO: &str = "vfio.h of Linux 5.8 to 5.17, struct vfio_device_migration_info: at offset 0 \
    of a region of type 3, subtype 1; the data section follows it";
const MMAP: &str = "vfio.h of Linux 5.8 to 5.17: the header is trapped, the data section may be \
    mapped; QEMU 7.2 maps what the sparse mmap capability names, the whole region without it";
const WIDTH: &str = "vfio.h of Linux 5.8 to 5.17: each field should be accessed at its own width \
    and alignment; otherwise the result is undefined, and the driver should return an error, so \
    what is accepted is told for information";
const RESERVED: &str = "vfio.h of Linux 5.8 to 5.17, reserved: reads return zero and writes are \
    ignored";
const STATES: &str = "vfio.h of Linux 5.8 to 5.17, device_state: RUNNING, SAVING, RESUMING and \
    their valid combinations; a state that is invalid is refused and the previous one kept";
const PENDING: &str = "vfio.h of Linux 5.8 to 5.17, pending_bytes: reading it ends an iteration \
    and has no other side effect; it is 0 when nothing is left";
const STAGED: &str = "vfio.h of Linux 5.8 to 5.17: data_offset and data_size name the data of an \
    iteration, which pending_bytes ends";
const READ_ONLY: &str =
    "vfio.h of Linux 5.8 to 5.17: pending_bytes and data_offset are read-only; \
    it does not say that writing them fails, so what is accepted is told for information";
const SAVE: &str = "vfio.h of Linux 5.8 to 5.17, and QEMU 5.2 to 7.2: _SAVING by iterations, \
    _RESUMING by data_size, by the buffers of the source";
const PIECES: &str = "vfio.h of Linux 5.8 to 5.17: data should be of the same transaction size as \
    at the source; whether others are taken is told for information";
const DAMAGED: &str = "vfio.h of Linux 5.8 to 5.17: a driver can return an error for a state that \
    cannot be restored, so what is accepted is told for information; VFIO_DEVICE_RESET recovers";
const RESET: &str = "vfio.h of Linux 5.8 to 5.17, VFIO_DEVICE_RESET: the state is RUNNING again";

const RESERVED_FIELD: u64 = 4;
const PENDING_BYTES: u64 = 8;
const DATA_OFFSET: u64 = 16;
const DATA_SIZE: u64 = 24;
const HEADER: u64 = 32;
const VALID: [u32; 5] = [0, 1, 2, 3, 4];

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("region-v1.info", INFO, info),
        Check::new("region-v1.mmap-bounds", MMAP, |s| open(s)?.mmap_bounds()),
        Check::new("region-v1.mmap-same-bytes", MMAP, |s| {
            open(s)?.mmap_is_the_section()
        }),
        Check::new("region-v1.widths", WIDTH, widths),
        Check::new("region-v1.reserved", RESERVED, reserved),
        Check::new("region-v1.read-only-fields", READ_ONLY, read_only),
        Check::new("region-v1.initial-state", STATES, |s| {
            Raw::open_fresh(s, Protocol::RegionV1, HEADER)?.is_in(1, "after open")
        }),
        Check::new("region-v1.invalid-states", STATES, invalid_states),
        Check::new("region-v1.same-state-again", STATES, same_state),
        Check::new("region-v1.pending-when-not-saving", PENDING, pending),
        Check::new("region-v1.staged-buffer-stays", STAGED, staged),
        Check::new("region-v1.data-size-out-of-range", SAVE, data_size),
        Check::new("region-v1.truncated", DAMAGED, truncated),
        Check::new("region-v1.cancel", STATES, cancel),
        Check::new("region-v1.load", SAVE, |subject| {
            let region = open(subject)?;
            load(&region, &save(&region)?)?;
            save(&region).map(drop)
        }),
    ];
    for size in [1, 8, 4096, 1 << 20] {
        checks.push(Check::new(
            format!("region-v1.load-by-{size}"),
            PIECES,
            move |subject| load_by(subject, size),
        ));
    }
    for state in VALID {
        checks.push(Check::new(
            format!("region-v1.reset-in-{state}"),
            RESET,
            move |subject| {
                let region = open(subject)?;
                region.set(state)?;
                region.reset()?;
                save(&region).map(drop)
            },
        ));
    }
    checks
}

fn open(subject: &Subject) -> Verdict<Raw> {
    Raw::open(subject, Protocol::RegionV1, HEADER)
}

/// Takes the image, buffer by buffer, by the iterations of the running device, which runs again
/// then.
fn save(region: &Raw) -> Verdict<Vec<Vec<u8>>> {
    let (mut image, mut length) = (Vec::new(), 0);
    for state in [3, 2] {
        region.set(state)?;
        loop {
            let pending = region.u64(PENDING_BYTES)?;
            if pending == 0 {
                break;
            }
            held(pending)?;
            let offset = region.u64(DATA_OFFSET)?;
            let size = region.u64(DATA_SIZE)?;
            if size == 0 {
                ensure(state == 3, || {
                    "data_size is 0 while bytes are pending and the device is stopped".into()
                })?;
                break;
            }
            let mut buffer = Vec::new();
            region.copy_out(offset, size, &mut buffer)?;
            length += buffer.len();
            image.push(buffer);
            ensure(length < HELD, || "the state does not end".into())?;
        }
    }
    region.set(1)?;
    ensure(!image.is_empty(), || "there is no state".into())?;
    Ok(image)
}

fn put(region: &Raw, bytes: &[u8]) -> Result<(), Errno> {
    let mut at = [0; 8];
    region.read(DATA_OFFSET, &mut at)?;
    region.write(u64::from_le_bytes(at), bytes)?;
    region.try_u64(DATA_SIZE, bytes.len() as u64)
}

/// Most bytes of a buffer, at least one.
fn room(region: &Raw) -> Verdict<usize> {
    let (offset, size) = (region.u64(DATA_OFFSET)?, region.info.size);
    match size.checked_sub(offset) {
        // CAST: the region's size.
        Some(room @ 1..) => Ok(room as usize),
        _ => fail(format!(
            "data_offset {offset} leaves no room for a buffer in a region of {size} bytes"
        )),
    }
}

fn load(region: &Raw, image: &[Vec<u8>]) -> Verdict {
    region.set(4)?;
    for buffer in image {
        succeeds(put(region, buffer), "handing a buffer over")?;
    }
    region.set(1)
}

/// Loads the image in other pieces than it came in.
fn load_by(subject: &Subject, size: usize) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    region.set(4)?;
    let taken = image
        .concat()
        .chunks(size.min(room(&region)?))
        .all(|piece| put(&region, piece).is_ok())
        && region.try_u32(0, 1).is_ok();
    if !taken {
        region.reset()?;
        load(&region, &image)?;
        return Err(Finding::Info(format!(
            "an image in pieces of {size} bytes is refused"
        )));
    }
    save(&region).map(drop)
}

fn info(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let info = &region.info;
    ensure(info.readable && info.writable, || {
        "it is not readable and writable".into()
    })?;
    let offset = region.u64(DATA_OFFSET)?;
    ensure(offset >= HEADER && offset < info.size, || {
        format!("data_offset is {offset}")
    })?;
    if let Ok(area) = region.section() {
        ensure(area.offset == offset, || {
            format!(
                "data_offset is {offset} and the area begins at {}",
                area.offset
            )
        })?;
    }
    Ok(())
}

fn widths(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let section = region.u64(DATA_OFFSET)?;
    let legal = |at, len| matches!((at, len), (0 | 4, 4) | (8 | 16 | 24, 8));
    let mut accepted = 0;
    for at in 0..HEADER + 4 {
        for len in [1, 2, 3, 4, 5, 8, 12, 16, 24, 32] {
            // CAST: widening.
            if legal(at, len) || at + len as u64 > section {
                continue;
            }
            accepted += u32::from(region.read(at, &mut vec![0xff; len]).is_ok());
            if region.write(at, &vec![0; len]).is_ok() {
                accepted += 1;
                region.reset()?;
            }
        }
    }
    region.is_in(1, "after accesses of other widths")?;
    none(accepted, "accesses of other widths are accepted")
}

/// Tells how often what should be refused was not.
fn none(accepted: u32, what: &str) -> Verdict {
    match accepted {
        0 => Ok(()),
        _ => Err(Finding::Info(format!("{accepted} {what}"))),
    }
}

fn reserved(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for value in [0, 1, u32::MAX] {
        succeeds(
            region.try_u32(RESERVED_FIELD, value),
            "writing the reserved field",
        )?;
        let found = region.u32(RESERVED_FIELD)?;
        ensure(found == 0, || {
            format!("the reserved field reads {found:#x}")
        })?;
    }
    region.is_in(1, "after it")
}

fn read_only(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let mut accepted = 0;
    for state in [1, 3, 4] {
        region.set(state)?;
        for field in [PENDING_BYTES, DATA_OFFSET] {
            accepted += u32::from(region.try_u64(field, 0).is_ok());
        }
        region.is_in(state, "after writing a field that is read-only")?;
        region.reset()?;
    }
    none(accepted, "writes to fields that are read-only are accepted")
}

fn invalid_states(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for from in VALID {
        region.set(from)?;
        for state in [5, 6, 7] {
            fails(region.try_u32(0, state), &format!("{from} -> {state}"))?;
            region.is_in(from, "after an invalid state")?;
        }
        region.reset()?;
    }
    Ok(())
}

fn same_state(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for state in VALID {
        region.set(state)?;
        region.set(state)?;
        region.is_in(state, "after it was written twice")?;
        region.reset()?;
    }
    Ok(())
}

fn pending(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for state in [0, 1, 4] {
        region.set(state)?;
        let found = region.u64(PENDING_BYTES)?;
        ensure(found == 0, || {
            format!("pending_bytes is {found} in {state}")
        })?;
        region.reset()?;
    }
    Ok(())
}

fn staged(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    region.set(2)?;
    ensure(region.u64(PENDING_BYTES)? != 0, || {
        "nothing is pending".into()
    })?;
    let first = (region.u64(DATA_OFFSET)?, region.u64(DATA_SIZE)?);
    let again = (region.u64(DATA_OFFSET)?, region.u64(DATA_SIZE)?);
    ensure(first == again, || {
        format!("offset and size read {first:?} and then {again:?}")
    })
}

fn data_size(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    region.set(4)?;
    let room = room(&region)? as u64;
    for size in [room + 1, 1 << 32, u64::MAX] {
        fails_with(
            region.try_u64(DATA_SIZE, size),
            Errno::INVAL,
            &format!("data_size {size}"),
        )?;
    }
    region.reset()?;
    fails(
        region.try_u64(DATA_SIZE, 8),
        "writing data_size of a running device",
    )
    .map(drop)
}

fn truncated(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    let (bytes, room) = (image.concat(), room(&region)?);
    let mut accepted = 0;
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        region.set(4)?;
        let mut taken = true;
        for piece in bytes[..length].chunks(room) {
            taken &= put(&region, piece).is_ok();
        }
        accepted += u32::from(taken && region.try_u32(0, 1).is_ok());
        region.reset()?;
        load(&region, &image)?;
    }
    none(accepted, "of 4 images that are cut short are accepted")
}

fn cancel(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for state in [3, 2] {
        region.set(state)?;
        region.u64(DATA_SIZE)?;
        region.set(1)?;
        load(&region, &save(&region)?)?;
    }
    load(&region, &image)
}
