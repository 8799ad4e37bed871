// SPDX-License-Identifier: GPL-2.0-only

//! Transitions, resets and the ways back.

use rustix::io::Errno;

use super::client::{
    drain, go, load, open, put_all, save, COPIED, DATA_SIZE, START, THRESHOLD, TOTAL,
};
use crate::check::v2::V2;
use crate::check::{ensure, fails_with, succeeds, Subject, Verdict};

/// The states, in the order of their numbers.
pub const NAMES: [&str; 8] = [
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

/// Numbers that are no states are refused.
pub fn unknown(subject: &Subject) -> Verdict {
    let region = open(subject)?;
    for state in [10, 11, 255, 1 << 16, u32::MAX] {
        let what = format!("device_state {state}");
        fails_with(region.try_u32(0, state), Errno::INVAL, &what)?;
        region.is_in(1, "after an unknown state")?;
    }
    Ok(())
}

/// From one state every number leads where the table says.
pub fn transitions(subject: &Subject, from: u32) -> Verdict {
    let region = open(subject)?;
    let image = save(&region)?;
    for to in 0..10u32 {
        go(&region, from, &image)?;
        // A completed state needs the whole image.
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

/// A reset in a state leaves the header as after open.
pub fn reset_in(subject: &Subject, state: u32) -> Verdict {
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

/// A source goes back to RUNNING by a value, with nothing lost.
pub fn back(subject: &Subject, value: u32) -> Verdict {
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

/// One protocol at a time owns the device.
pub fn owner(subject: &Subject) -> Verdict {
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
