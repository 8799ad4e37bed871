// SPDX-License-Identifier: GPL-2.0-only

//! What must hold after each round: the device is fresh after a reset and after open, and works.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::client::{words, Client};
use crate::device::{Shared, RAM};
use crate::kind::Kind;
use crate::sys::{self, Errno, MapHow, PAGE};
use crate::uapi::*;

/// Where memory for the check is mapped.
const IOVA: u64 = 0x10_0000;

/// How long a reset may time out because the device still computes what the guest asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the device is not what it should be.
type Verdict<T = ()> = Result<T, String>;

/// Turns an error into a verdict that names what was attempted.
fn must<T>(what: &str, result: sys::Result<T>) -> Verdict<T> {
    result.map_err(|Errno(errno)| format!("{what}: {}", crate::kind::errno_name(errno)))
}

/// Resets the device that the round has left open, and checks it.
pub fn after_reset(client: &mut Client<'_>) -> Verdict {
    let shared = client.shared;
    if client.device().is_none() {
        let device = must("open", shared.open_device(client.window))?;
        shared.devices[0].put(Some(device));
    }
    let device = client.device().ok_or("no device")?;
    let end = Instant::now() + PATIENCE;
    loop {
        match client.call(Kind::Reset, || {
            sys::ioctl_number(device.as_raw_fd(), DEVICE_RESET, 0)
        }) {
            Err(Errno(libc::ETIMEDOUT)) if Instant::now() < end => {}
            result => {
                must("reset", result)?;
                break;
            }
        }
    }
    let mut awake = words(&[8, FEATURE_SET | FEATURE_LOW_POWER_EXIT]);
    // The device refuses this if it is awake.
    let _ = client.good_ioctl(Kind::Feature, &device, DEVICE_FEATURE, &mut awake);
    client.close(Some(device));
    let mut all = words(&[24, UNMAP_ALL, 0, 0, 0, 0]);
    let container = &shared.container;
    must(
        "unmapping all memory",
        client.good_ioctl(Kind::DmaUnmap, container, IOMMU_UNMAP_DMA, &mut all),
    )?;
    is_fresh_and_works(client)
}

/// Opens the device anew and checks it: nothing is left of the one before.
pub fn after_open(client: &mut Client<'_>) -> Verdict {
    is_fresh_and_works(client)
}

fn is_fresh_and_works(client: &mut Client<'_>) -> Verdict {
    let shared = client.shared;
    must("enabling", client.enable())?;
    for register in edu::NARROW
        .iter()
        .filter(|register| ![edu::RAISE, edu::ACKNOWLEDGE].contains(register))
    {
        let value = must("reading a register", client.register(*register))?;
        let fresh = if *register == edu::IDENTIFICATION {
            edu::IDENTITY
        } else {
            0
        };
        expect(&format!("register {register:#x}"), value, fresh)?;
    }
    for register in edu::WIDE {
        let low = must("reading a register", client.register(*register))?;
        let high = must("reading a register", client.register(*register + 4));
        expect(&format!("register {register:#x}"), low, 0)?;
        drop(high);
    }
    let layout = &shared.layout;
    for (region, kind) in [
        (layout.region_2018, Kind::Region2018Read),
        (layout.region_v1, Kind::RegionV1Read),
    ] {
        let state = must("reading device_state", client.read(kind, region, 0, 4))?;
        expect("device_state", crate::client::word(&state, 0), 1)?;
    }
    let device = client.device().ok_or("no device")?;
    let mut state = words(&[16, FEATURE_GET | FEATURE_MIG_DEVICE_STATE, 0, 0]);
    let result = client.good_ioctl(Kind::Feature, &device, DEVICE_FEATURE, &mut state);
    client.close(Some(device));
    must("asking for the state", result)?;
    expect(
        "the state of v2",
        crate::client::word(&state, 8),
        V2_RUNNING,
    )?;
    works(client)
}

/// Maps memory, and has the device move data and compute.
fn works(client: &mut Client<'_>) -> Verdict {
    let arena = client.shared.arena;
    let at = RAM - 2 * PAGE;
    must("memory", arena.map(at, PAGE, MapHow::MEMORY))?;
    let mut map = words(&[32, DMA_READ_WRITE]);
    for number in [arena.at(at).number(), IOVA, PAGE as u64] {
        map.extend(number.to_ne_bytes());
    }
    let container = &client.shared.container;
    let mapped = client.good_ioctl(Kind::DmaMap, container, IOMMU_MAP_DMA, &mut map);
    must("mapping memory", mapped)?;

    // The buffer is empty, whatever it held before.
    must("preparing", arena.store(at, &[0xee; PAGE]))?;
    move_page(client, edu::BUFFER, IOVA, edu::TO_MEMORY)?;
    let mut buffer = [1; PAGE];
    must("looking", arena.load(at, &mut buffer))?;
    if buffer != [0; PAGE] {
        return Err("the internal buffer of a fresh device is not empty".into());
    }
    // What goes in comes out.
    let content: Vec<u8> = (0..PAGE).map(|at| (at * 7 + at / 256) as u8).collect();
    must("preparing", arena.store(at, &content))?;
    move_page(client, IOVA, edu::BUFFER, 0)?;
    must("preparing", arena.store(at, &[0; PAGE]))?;
    move_page(client, edu::BUFFER, IOVA, edu::TO_MEMORY)?;
    must("looking", arena.load(at, &mut buffer))?;
    if buffer[..] != content {
        return Err("the device does not return the data that it was given".into());
    }

    must("computing", client.set_register(edu::FACTORIAL, 6))?;
    wait(client, "the factorial", |client| {
        Ok(client.register(edu::STATUS)? & edu::COMPUTING == 0)
    })?;
    let result = must("computing", client.register(edu::FACTORIAL))?;
    expect("the factorial of 6", result, 720)?;

    let mut unmap = words(&[24, 0]);
    unmap.extend(IOVA.to_ne_bytes());
    unmap.extend((PAGE as u64).to_ne_bytes());
    let container = &client.shared.container;
    let unmapped = client.good_ioctl(Kind::DmaUnmap, container, IOMMU_UNMAP_DMA, &mut unmap);
    must("unmapping memory", unmapped).map(drop)
}

/// Moves a page and waits for its end.
fn move_page(client: &mut Client<'_>, from: u64, to: u64, command: u64) -> Verdict {
    must(
        "a transfer",
        client.transfer(from, to, PAGE as u64, command),
    )?;
    wait(client, "a transfer", |client| {
        Ok(u64::from(client.register(edu::DMA_COMMAND)?) & edu::RUN == 0)
    })
}

/// Waits until the device is done.
fn wait(
    client: &mut Client<'_>,
    what: &str,
    mut is_done: impl FnMut(&mut Client<'_>) -> sys::Result<bool>,
) -> Verdict {
    let end = Instant::now() + PATIENCE;
    while !must(what, is_done(client))? {
        if Instant::now() > end {
            return Err(format!("{what} does not end"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn expect(what: &str, found: u32, fresh: u32) -> Verdict {
    match found == fresh {
        true => Ok(()),
        false => Err(format!("{what} is {found:#x}, not {fresh:#x}")),
    }
}

/// Closes all that a round has left open: mappings hold the device, too.
pub fn close_all(client: &mut Client<'_>) {
    let shared: &Shared = client.shared;
    let arena = shared.arena;
    let _ = client.call(Kind::Unmap, || arena.unmap(0, arena.len()));
    for slot in shared.devices.iter().chain(&shared.streams) {
        let file = slot.put(None);
        client.close(file);
    }
}
