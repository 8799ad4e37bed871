// SPDX-License-Identifier: GPL-2.0-only

//! Ioctls of the device's file.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::client::{word, words, Client};
use crate::kind::Kind;
use crate::sys;
use crate::tally::V2;
use crate::uapi::*;

/// Does something with the device's file.
fn with(client: &mut Client<'_>, work: impl FnOnce(&mut Client<'_>, &OwnedFd)) {
    if let Some(device) = client.device() {
        work(client, &device);
        client.close(Some(device));
    }
}

/// `VFIO_DEVICE_GET_INFO`, `_GET_REGION_INFO`, `_GET_IRQ_INFO`, `_GET_PCI_HOT_RESET_INFO`.
pub fn device_info(client: &mut Client<'_>) {
    with(client, |client, device| {
        let dice = &mut client.dice;
        let (kind, request, len) = *dice.pick(&[
            (Kind::Info, DEVICE_GET_INFO, 24),
            (Kind::RegionInfo, DEVICE_GET_REGION_INFO, 32),
            (Kind::RegionInfo, DEVICE_GET_REGION_INFO, 4096),
            (Kind::IrqInfo, DEVICE_GET_IRQ_INFO, 16),
            (Kind::HotResetInfo, DEVICE_GET_PCI_HOT_RESET_INFO, 64),
        ]);
        let mut argument = vec![0; len];
        // CAST: Small numbers.
        argument[..4].copy_from_slice(&(len as u32).to_ne_bytes());
        argument[8..12].copy_from_slice(&(dice.below(14) as u32).to_ne_bytes());
        dice.spoil(&mut argument);
        let _ = client.ioctl(kind, device, request, &mut argument);
    });
}

/// `VFIO_DEVICE_SET_IRQS`.
pub fn set_irqs(client: &mut Client<'_>) {
    with(client, |client, device| {
        let events = &client.shared.events;
        let dice = &mut client.dice;
        let index = *dice.pick(&[0, 0, 1, 1, 1, 2, 3, 4, 4, 5]);
        let action = *dice.pick(&[8, 16, 32, 32, 32, 32]);
        let (data, count) = *dice.pick(&[(1, 0), (1, 1), (2, 1), (4, 1), (4, 1), (4, 0)]);
        let mut argument = words(&[20, data | action, index, 0, count]);
        match (data, count) {
            (2, 1) => argument.push((dice.number() & 1) as u8),
            (4, 1) => {
                let fd = match dice.below(8) {
                    0 => -1,
                    // Not an eventfd.
                    1 => client.shared.container.as_raw_fd(),
                    2 => 1000,
                    _ => dice.pick(events).as_raw_fd(),
                };
                argument.extend(fd.to_ne_bytes());
            }
            _ => {}
        }
        let argsz = argument.len() as u32;
        argument[..4].copy_from_slice(&argsz.to_ne_bytes());
        dice.spoil(&mut argument);
        if client
            .ioctl(Kind::SetIrqs, device, DEVICE_SET_IRQS, &mut argument)
            .is_ok()
            && data == 4
        {
            client.tally.event("eventfds set", 1);
        }
        let fired: u64 = client.shared.events.iter().map(sys::eventfd_take).sum();
        client.tally.event("interrupts", fired);
    });
}

/// `VFIO_DEVICE_PCI_HOT_RESET`.
pub fn hot_reset(client: &mut Client<'_>) {
    with(client, |client, device| {
        // CAST: A descriptor is not negative.
        let group = client.shared.group.as_raw_fd() as u32;
        let mut argument = words(&[16, 0, 1, group]);
        client.dice.spoil(&mut argument);
        let result = client.ioctl(Kind::HotReset, device, DEVICE_PCI_HOT_RESET, &mut argument);
        if result.is_ok() {
            client.tally.event("hot resets", 1);
        }
    });
}

/// `VFIO_DEVICE_FEATURE`, of any feature but the change of state.
pub fn feature(client: &mut Client<'_>) {
    with(client, |client, device| {
        let dice = &mut client.dice;
        let number = dice.below(15) as u32;
        let flags = *dice.pick(&[FEATURE_GET, FEATURE_GET, FEATURE_SET, FEATURE_PROBE]);
        let number = match number {
            // `streams` changes the state and takes care of the data file.
            FEATURE_MIG_DEVICE_STATE if flags == FEATURE_SET => 1,
            number => number,
        };
        let len = *dice.pick(&[0, 4, 8, 8, 8, 16, 32, 64]);
        let mut argument = words(&[8 + len as u32, number | flags]);
        argument.extend(dice.bytes(len));
        if len >= 8 && dice.one_in(2) {
            argument[8..16].fill(0);
        }
        dice.spoil(&mut argument);
        let asked = word(&argument, 4);
        if asked & 0xffff == FEATURE_MIG_DEVICE_STATE && asked & FEATURE_SET != 0 {
            return;
        }
        let result = client.ioctl(Kind::Feature, device, DEVICE_FEATURE, &mut argument);
        let wanted = FEATURE_GET | FEATURE_MIG_DEVICE_STATE;
        if asked == wanted && result.is_ok() && len >= 8 && word(&argument, 4) == wanted {
            client.saw(&V2, &argument[8..]);
        }
    });
}

/// Any VFIO ioctl, and others, with anything.
pub fn any(client: &mut Client<'_>) {
    with(client, |client, device| {
        let dice = &mut client.dice;
        let request = match dice.below(3) {
            0 => dice.value() as u32,
            _ => crate::uapi::any(dice.below(40) as u32),
        };
        if request == DEVICE_FEATURE || request == DEVICE_RESET {
            return;
        }
        let len = dice.length(128).max(4);
        let mut argument = dice.bytes(len);
        let argsz = *dice.pick(&[len as u32, 0, 4, 8, 16, 24, u32::MAX]);
        argument[..4].copy_from_slice(&argsz.to_ne_bytes());
        let kind = match request {
            DEVICE_IOEVENTFD => Kind::IoEventFd,
            DEVICE_SET_IRQS => Kind::SetIrqs,
            DEVICE_PCI_HOT_RESET => Kind::HotReset,
            DEVICE_GET_PCI_HOT_RESET_INFO => Kind::HotResetInfo,
            _ => Kind::OtherIoctl,
        };
        let _ = client.ioctl(kind, device, request, &mut argument);
    });
}
