// SPDX-License-Identifier: GPL-2.0-only

//! The migration region of Linux 5.8 to 5.17, as the last of these has it.
//!
//! The checks read the fields of the data section only when the text has a client read them: in the
//! saving states after `pending_bytes`, and in `_RESUMING`.

mod client;
mod mmap;

use super::region::Raw;
use super::{
    ensure, fail, fails, not_applicable, succeeds, Check, Finding, Subject, Verdict, HELD,
};
use crate::sys::page_size;
use client::{
    iterate, load, open, open_fresh, put, recover, room, save, save_and, DATA_OFFSET, DATA_SIZE,
    HEADER, PENDING_BYTES,
};

const INFO: &str = "vfio.h of Linux 5.8 to 5.17, struct vfio_device_migration_info: at offset 0 \
    of a region of type 3, subtype 1; the data section follows it, so data_offset is never 0; it \
    is page aligned if it is mapped";
const WIDTH: &str = "vfio.h of Linux 5.8 to 5.17: each field should be accessed at its own width \
    and alignment; otherwise the result is undefined, and the driver should return an error, so \
    what is accepted is told for information";
const RESERVED: &str = "vfio.h of Linux 5.8 to 5.17, reserved: reads return zero and writes are \
    ignored";
const INITIAL: &str = "vfio.h of Linux 5.8 to 5.17: _RUNNING is the default state when the user \
    application starts";
const INVALID: &str = "vfio.h of Linux 5.8 to 5.17, device_state: 101b and 111b are invalid, 110b \
    is the error state; if a transition fails, the driver should return the previous state, but \
    for an internal error; that one is told for information";
const AGAIN: &str = "QEMU 5.2 to 7.2, which writes _RUNNING to a device that runs and _SAVING to \
    one that saves; vfio.h of Linux 5.8 to 5.17 has no such transitions, so what other states do \
    is told for information";
const PENDING: &str =
    "vfio.h of Linux 5.8 to 5.17, pending_bytes: the bytes still to be migrated; \
    it is read in the saving states, so what it is in others is told for information";
const REPEATED: &str =
    "vfio.h of Linux 5.8 to 5.17: repeated read on pending_bytes at the start of \
    an iteration should have no side effects";
const STAGED: &str = "vfio.h of Linux 5.8 to 5.17: data_offset and data_size should return offset \
    and size of the current buffer if they are read more than once";
const READ_ONLY: &str =
    "vfio.h of Linux 5.8 to 5.17: pending_bytes and data_offset are read-only; \
    it does not say that writing them fails, so what is accepted is told for information";
const SAVE: &str = "vfio.h of Linux 5.8 to 5.17, and QEMU 5.2 to 7.2: _SAVING by iterations, \
    _RESUMING by data_size, by the buffers of the source";
const CONSUMED: &str =
    "vfio.h of Linux 5.8 to 5.17, data_size: the driver must return the write on \
    consuming the data, and can return an error for the next read or write; more data than the \
    region has cannot be consumed; what a device that does not resume takes is told for \
    information";
const PIECES: &str = "vfio.h of Linux 5.8 to 5.17: data should be of the same transaction size as \
    at the source; whether others are taken is told for information";
const DAMAGED: &str = "vfio.h of Linux 5.8 to 5.17: a driver can return an error for a state that \
    cannot be restored, so what is accepted is told for information; VFIO_DEVICE_RESET recovers";
const RESET: &str = "vfio.h of Linux 5.8 to 5.17: VFIO_DEVICE_RESET recovers a device from the \
    error state; it says nothing of other states, so where a device stays from these is told for \
    information";
const CANCEL: &str = "QEMU 5.2 to 7.2, which goes from both saving states to _RUNNING if a \
    migration is cancelled or fails; vfio.h of Linux 5.8 to 5.17: the user must not be required \
    to consume all data";

const RESERVED_FIELD: u64 = 4;
const VALID: [u32; 5] = [0, 1, 2, 3, 4];

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("region-v1.info", INFO, info),
        Check::new("region-v1.widths", WIDTH, widths),
        Check::new("region-v1.reserved", RESERVED, reserved),
        Check::new("region-v1.read-only-fields", READ_ONLY, read_only),
        Check::new("region-v1.initial-state", INITIAL, |s| {
            open_fresh(s)?.is_in(1, "after open")
        }),
        Check::new("region-v1.invalid-states", INVALID, invalid_states),
        Check::new("region-v1.survives-refusals", INVALID, survives_refusals),
        Check::new("region-v1.same-state-again", AGAIN, same_state),
        Check::new("region-v1.pending-when-not-saving", PENDING, pending),
        Check::new("region-v1.pending-again", REPEATED, pending_again),
        Check::new("region-v1.staged-buffer-stays", STAGED, staged),
        Check::new("region-v1.data-size-out-of-range", CONSUMED, data_size),
        Check::new("region-v1.truncated", DAMAGED, truncated),
        Check::new("region-v1.cancel", CANCEL, cancel),
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
            move |subject| reset_in(subject, state),
        ));
    }
    checks.extend(mmap::checks());
    checks
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
        recover(&region)?;
        load(&region, &image)?;
        return Err(Finding::Info(format!(
            "an image in pieces of {size} bytes is refused"
        )));
    }
    save(&region).map(drop)
}

fn reset_in(subject: &Subject, state: u32) -> Verdict {
    let region = open(subject)?;
    region.set(state)?;
    succeeds(region.open.device.raw_reset(), "VFIO_DEVICE_RESET")?;
    let found = region.u32(0)?;
    recover(&region)?;
    save(&region)?;
    if found != 1 {
        let text = format!("VFIO_DEVICE_RESET in {state} leaves device_state {found}");
        return Err(Finding::Info(text));
    }
    Ok(())
}

fn info(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let info = &region.info;
    ensure(info.readable && info.writable, || {
        "it is not readable and writable".into()
    })?;
    region.set(4)?;
    let offset = region.u64(DATA_OFFSET)?;
    ensure(offset >= HEADER && offset < info.size, || {
        format!("data_offset is {offset}")
    })?;
    let mapped = info.sparse.iter().flatten().any(|area| {
        offset
            .checked_sub(area.offset)
            .is_some_and(|at| at < area.size)
    });
    // CAST: widening.
    ensure(!mapped || offset % page_size() as u64 == 0, || {
        format!("data_offset is {offset}, where the region can be mapped")
    })
}

fn widths(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let legal = |at, len| matches!((at, len), (0 | 4, 4) | (8 | 16 | 24, 8));
    let mut accepted = 0;
    for at in 0..HEADER {
        for len in [1, 2, 3, 4, 5, 8, 12, 16, 24, 32] {
            // CAST: widening.
            if legal(at, len) || at + len as u64 > HEADER {
                continue;
            }
            accepted += u32::from(region.read(at, &mut vec![0xff; len]).is_ok());
            if region.write(at, &vec![0; len]).is_ok() {
                accepted += 1;
                recover(&region)?;
            }
        }
    }
    recover(&region)?;
    save(&region)?;
    none(accepted, "accesses of other widths are accepted")
}

/// Reports how many accesses were accepted that should be refused.
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
        recover(&region)?;
    }
    none(accepted, "writes to fields that are read-only are accepted")
}

fn invalid_states(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let mut errors = 0;
    for from in VALID {
        for state in [5, 6, 7] {
            region.set(from)?;
            fails(region.try_u32(0, state), &format!("{from} -> {state}"))?;
            match region.u32(0)? {
                6 => errors += 1,
                found => ensure(found == from, || {
                    format!("after {from} -> {state} was refused device_state is {found}")
                })?,
            }
            recover(&region)?;
        }
    }
    none(errors, "writes of invalid states lead to the error state")
}

/// Writes an invalid state; ends the check for information if the device goes to the error state.
fn be_refused(region: &Raw, state: u32) -> Verdict {
    let what = format!("{state} -> 5");
    fails(region.try_u32(0, 5), &what)?;
    match region.u32(0)? {
        6 => Err(Finding::Info(format!("{what} leads to the error state"))),
        found => ensure(found == state, || {
            format!("after {what} was refused device_state is {found}")
        }),
    }
}

/// Saves and loads, with an invalid state beside each buffer.
fn survives_refusals(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save_and(&region, |buffer, bytes| {
        be_refused(&region, region.u32(0)?)?;
        let mut again = Vec::new();
        region.copy_out(buffer.offset, buffer.size, &mut again)?;
        ensure(again == bytes, || {
            "an invalid state changes the buffer that is in the data section".into()
        })
    })?;
    region.set(4)?;
    for buffer in &image {
        be_refused(&region, 4)?;
        let what = "handing a buffer over after an invalid state";
        succeeds(put(&region, buffer), what)?;
    }
    be_refused(&region, 4)?;
    region.set(1)?;
    save(&region).map(drop)
}

fn same_state(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let mut refused = Vec::new();
    for state in VALID {
        region.set(state)?;
        match state {
            1 | 2 => {
                region.set(state)?;
                region.is_in(state, "after it was written twice")?;
            }
            _ if region.try_u32(0, state).is_err() => refused.push(state),
            _ => {}
        }
        recover(&region)?;
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Finding::Info(format!(
        "the states {refused:?} are refused if they are written again"
    )))
}

fn pending(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let mut others = Vec::new();
    for state in [0, 1, 4] {
        region.set(state)?;
        let mut bytes = [0; 8];
        match region.read(PENDING_BYTES, &mut bytes) {
            Ok(()) if bytes == [0; 8] => {}
            Ok(()) => others.push(format!("{} in {state}", u64::from_le_bytes(bytes))),
            Err(errno) => others.push(format!("{errno} in {state}")),
        }
        recover(&region)?;
    }
    if others.is_empty() {
        return Ok(());
    }
    Err(Finding::Info(format!(
        "pending_bytes is {}",
        others.join(", ")
    )))
}

fn pending_again(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    region.set(2)?;
    let mut found = Vec::new();
    loop {
        // A client may read the field more than once.
        for _ in 0..3 {
            region.u64(PENDING_BYTES)?;
        }
        match iterate(&region)? {
            Some(buffer) if buffer.size != 0 => {
                region.copy_out(buffer.offset, buffer.size, &mut found)?;
            }
            _ => break,
        }
        ensure(found.len() < HELD, || "the state does not end".into())?;
    }
    region.set(1)?;
    load(&region, &image)?;
    ensure(!found.is_empty(), || {
        "there is no state if pending_bytes is read more than once".into()
    })
}

fn staged(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    region.set(2)?;
    let Some(first) = iterate(&region)? else {
        return not_applicable("the device has no state");
    };
    let again = (region.u64(DATA_OFFSET)?, region.u64(DATA_SIZE)?);
    ensure((first.offset, first.size) == again, || {
        format!("offset and size read {first:?} and then {again:?}")
    })
}

fn data_size(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for size in [None, Some(1 << 32), Some(u64::MAX)] {
        region.set(4)?;
        // CAST: widening.
        let size = size.unwrap_or(room(&region)? as u64 + 1);
        // The error may come with the next call.
        if region.try_u64(DATA_SIZE, size).is_ok() && region.try_u32(0, 1).is_ok() {
            return fail(format!(
                "data_size {size} is taken, and the device runs with what was not there"
            ));
        }
        recover(&region)?;
    }
    if region.try_u64(DATA_SIZE, 8).is_ok() {
        let text = "data_size of a running device can be written";
        return Err(Finding::Info(text.into()));
    }
    Ok(())
}

fn truncated(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    let bytes = image.concat();
    let mut accepted = 0;
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        region.set(4)?;
        let mut taken = true;
        for piece in bytes[..length].chunks(room(&region)?) {
            taken &= put(&region, piece).is_ok();
        }
        accepted += u32::from(taken && region.try_u32(0, 1).is_ok());
        recover(&region)?;
        load(&region, &image)?;
    }
    none(accepted, "of 4 images that are cut short are accepted")
}

fn cancel(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for state in [3, 2] {
        region.set(state)?;
        iterate(&region)?;
        region.set(1)?;
        load(&region, &save(&region)?)?;
    }
    load(&region, &image)
}
