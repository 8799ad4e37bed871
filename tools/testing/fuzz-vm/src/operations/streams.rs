// SPDX-License-Identifier: GPL-2.0-only

//! v2: changes of state, and data files of any age.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::client::{word, words, Client};
use crate::kind::Kind;
use crate::sys::{self, Result};
use crate::uapi::*;

/// Returns a copy of a saved image, as it is or damaged.
pub fn image(client: &mut Client<'_>) -> Option<Vec<u8>> {
    let images = client.shared.images.lock();
    let images = images.unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut image = images.get(client.dice.below(images.len().max(1)))?.clone();
    drop(images);
    let dice = &mut client.dice;
    match dice.below(10) {
        0 => image.truncate(dice.below(image.len())),
        1 => {
            let at = dice.below(image.len());
            image[at] ^= 1 << dice.below(8);
        }
        2 => image.push(dice.number() as u8),
        _ => {}
    }
    Some(image)
}

/// Changes the state. A data file that comes with it is put in a place and returned.
pub fn enter(client: &mut Client<'_>, state: u32, good: bool) -> Result<Option<Arc<OwnedFd>>> {
    let Some(device) = client.device() else {
        return Err(sys::Errno(libc::ENODEV));
    };
    let flags = FEATURE_SET | FEATURE_MIG_DEVICE_STATE;
    // CAST: -1 as the structure has it.
    let mut argument = words(&[16, flags, state, -1_i32 as u32]);
    let result = match good {
        true => client.good_ioctl(Kind::MigrationState, &device, DEVICE_FEATURE, &mut argument),
        false => client.ioctl(Kind::MigrationState, &device, DEVICE_FEATURE, &mut argument),
    };
    client.close(Some(device));
    result?;
    // CAST: A descriptor, or -1.
    let Some(file) = sys::adopt(word(&argument, 12) as i32).map(Arc::new) else {
        return Ok(None);
    };
    let at = client.dice.below(client.shared.streams.len());
    let before = client.shared.streams[at].put(Some(file.clone()));
    client.close(before);
    client.tally.event("data files", 1);
    Ok(Some(file))
}

pub fn set_state(client: &mut Client<'_>) {
    let state = match client.dice.below(8) {
        // CAST: The low half.
        0 => client.dice.value() as u32,
        _ => client.dice.below(9) as u32,
    };
    // If the structure cannot be written back, the kernel closes the file itself.
    if let Ok(file) = enter(client, state, false) {
        client.close(file);
    }
}

/// Does something with one of the data files.
fn with(client: &mut Client<'_>, work: impl FnOnce(&mut Client<'_>, &OwnedFd)) {
    let at = client.dice.below(client.shared.streams.len());
    if let Some(file) = client.shared.streams[at].get() {
        work(client, &file);
        client.close(Some(file));
    }
}

pub fn read(client: &mut Client<'_>) {
    with(client, |client, file| {
        let len = client.dice.length(20_000);
        let address = client.address(len);
        let _ = client.call(Kind::StreamRead, || {
            sys::read(file.as_raw_fd(), address, len)
        });
    });
}

pub fn write(client: &mut Client<'_>) {
    with(client, |client, file| {
        let len = client.dice.length(20_000);
        let mut bytes = image(client).unwrap_or_default();
        if bytes.is_empty() || client.dice.one_in(3) {
            bytes = client.dice.bytes(len);
        }
        client.store(&bytes);
        let address = client.address(bytes.len());
        let _ = client.call(Kind::StreamWrite, || {
            sys::write(file.as_raw_fd(), address, bytes.len())
        });
    });
}

pub fn others(client: &mut Client<'_>) {
    with(client, |client, file| {
        let fd = file.as_raw_fd();
        let address = client.address(64);
        let position = client.dice.value() >> 1;
        match client.dice.below(8) {
            0 => drop(client.call(Kind::StreamAt, || sys::pread(fd, address, 64, position))),
            1 => drop(client.call(Kind::StreamAt, || sys::pwrite(fd, address, 64, position))),
            2 => {
                let whence = client.dice.below(6) as i32;
                let _ = client.call(Kind::Seek, || sys::seek(fd, 0, whence));
            }
            3 => {
                // CAST: Small.
                let wait = client.dice.below(3) as i32 * 20;
                let _ = client.call(Kind::Poll, || sys::poll(fd, wait));
            }
            4..=6 => {
                let mut argument = words(&[24, 0, 0, 0, 0, 0]);
                client.dice.spoil(&mut argument);
                let request = MIG_GET_PRECOPY_INFO;
                let _ = client.ioctl(Kind::PrecopyInfo, file, request, &mut argument);
            }
            _ => {
                let request = any(client.dice.below(40) as u32);
                let mut argument = words(&[24, 0, 0, 0, 0, 0]);
                let _ = client.ioctl(Kind::PrecopyInfo, file, request, &mut argument);
            }
        }
    });
    if client.dice.one_in(6) {
        let at = client.dice.below(client.shared.streams.len());
        let file = client.shared.streams[at].put(None);
        client.close(file);
    }
}
