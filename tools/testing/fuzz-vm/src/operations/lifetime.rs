// SPDX-License-Identifier: GPL-2.0-only

//! Reset, close, reopen, signals, and reads of debugfs.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use crate::client::Client;
use crate::device::{RAM, SLOT, SLOTS};
use crate::kind::Kind;
use crate::sys::{self, Errno};
use crate::uapi::*;

pub fn reset(client: &mut Client<'_>) {
    if let Some(device) = client.device() {
        let _ = client.call(Kind::Reset, || {
            sys::ioctl_number(device.as_raw_fd(), DEVICE_RESET, 0)
        });
        client.close(Some(device));
    }
}

/// Opens the device and puts its file in a place.
fn open(client: &mut Client<'_>, at: usize) {
    let (shared, memory) = (client.shared, client.window);
    if let Ok(device) = client.call(Kind::Open, || shared.open_device(memory)) {
        let before = shared.devices[at].put(Some(device));
        client.close(before);
        if !client.dice.one_in(8) {
            let _ = client.enable();
        }
    }
}

/// Closes the device, even if others use it, and opens it again.
///
/// The kernel closes it only if no mapping holds it.
pub fn reopen(client: &mut Client<'_>) {
    let arena = client.shared.arena;
    if !client.dice.one_in(4) {
        let _ = client.call(Kind::Unmap, || arena.unmap(RAM, SLOTS * SLOT));
    }
    let files: Vec<_> = client
        .shared
        .devices
        .iter()
        .map(|slot| slot.put(None))
        .collect();
    for file in files {
        client.close(file);
    }
    open(client, 0);
}

/// Opens the device a second time, or closes one of its files.
pub fn open_twice(client: &mut Client<'_>) {
    let at = client.dice.below(2);
    if client.dice.one_in(2) || client.device().is_none() {
        open(client, at);
    } else if client.shared.devices[1 - at].get().is_some() {
        let file = client.shared.devices[at].put(None);
        client.close(file);
    }
}

/// Interrupts another thread's wait.
pub fn interrupt(client: &mut Client<'_>) {
    let places = client.places;
    let place = client.dice.pick(places);
    let thread = place.thread.load(Ordering::Relaxed);
    if thread != 0 {
        let _ = client.call(Kind::Interrupt, || sys::interrupt(thread));
    }
}

/// Reads what debugfs shows.
pub fn host_looks(client: &mut Client<'_>) {
    let shared = client.shared;
    if shared.debugfs.is_empty() {
        return;
    }
    let path = client.dice.pick(&shared.debugfs);
    let _ = client.call(Kind::HostLooks, || {
        let text = std::fs::read(path);
        text.map_err(|error| Errno(error.raw_os_error().unwrap_or(0)))
    });
}

/// Calls on the device's file that have no meaning, because it has no position.
pub fn file_calls(client: &mut Client<'_>) {
    let Some(device) = client.device() else {
        return;
    };
    let fd = device.as_raw_fd();
    match client.dice.below(3) {
        0 => drop(client.call(Kind::Poll, || sys::poll(fd, 0))),
        1 => {
            let (offset, whence) = (client.dice.value() >> 1, client.dice.below(6) as i32);
            // CAST: The upper bit is 0.
            let _ = client.call(Kind::Seek, || sys::seek(fd, offset as i64, whence));
        }
        _ => {
            let len = client.dice.length(64);
            let address = client.address(len);
            let _ = client.call(Kind::RegisterRead, || sys::read(fd, address, len));
        }
    }
    client.close(Some(device));
}
