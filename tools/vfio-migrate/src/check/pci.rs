// SPDX-License-Identifier: GPL-2.0-only

//! What a PCI device must answer to while it migrates: configuration space, interrupts, registers.

use vfio_bindings::bindings::vfio as uapi;

mod config;

use super::subject::Subject;
use super::v2::{State, Stream, V2};
use super::{ensure, not_applicable, succeeds, Check, Verdict};
use crate::vfio::{Device, Interrupt, RegionInfo};
use config::{flr, COMMAND, SIZE};

const STOPPED: &str =
    "vfio.h, enum vfio_device_mig_state: in the STOP state the device must accept \
    and respond to interaction to support external subsystems, for example PCI MSI-X and PCI \
    config space; in STOP_COPY it has the same behavior; QEMU restores both in RESUMING";
const TOUCHED: &str = "vfio.h, enum vfio_device_mig_state: failure by the user to restrict device \
    access while in STOP must not result in error conditions outside the user context; a stream \
    may be corrupted by it, and VFIO_DEVICE_RESET recovers";
const LOAD: &str = "QEMU, which loads a device so: RESUMING, the stream, PCI_COMMAND, interrupts, \
    and then RUNNING";
const FLR: &str = "vfio.h (kernel), struct vfio_migration_ops, and enum vfio_device_mig_state: a \
    reset ends in RUNNING, whose sessions are over; if a write of the configuration space has \
    reset the function, the state is that or the one before, and VFIO_DEVICE_RESET recovers";

/// The states in which a device is stopped.
const STATES: [State; 3] = [State::Stop, State::StopCopy, State::Resuming];

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![Check::new("pci.load-as-qemu", LOAD, load)];
    for state in STATES {
        checks.push(Check::new(
            format!("pci.config-in-{state}"),
            STOPPED,
            move |subject| interacts(subject, state, use_config),
        ));
        checks.push(Check::new(
            format!("pci.interrupts-in-{state}"),
            STOPPED,
            move |subject| interacts(subject, state, use_interrupts),
        ));
        checks.push(Check::new(
            format!("pci.registers-in-{state}"),
            TOUCHED,
            move |subject| touched(subject, state),
        ));
    }
    for state in [State::Running, State::PreCopy].into_iter().chain(STATES) {
        checks.push(Check::new(
            format!("pci.flr-in-{state}"),
            FLR,
            move |subject| reset_by_config(subject, state),
        ));
    }
    checks
}

/// Returns the configuration space; not applicable if the device has none.
fn config(device: &Device) -> Verdict<RegionInfo> {
    let config = device.regions().iter().find(|region| {
        // CAST: widening.
        region.index == uapi::VFIO_PCI_CONFIG_REGION_INDEX && region.size >= SIZE as u64
    });
    match config {
        Some(config) => Ok(config.clone()),
        None => not_applicable("the device has no PCI configuration space"),
    }
}

/// Reads all of the configuration space and writes the command register back.
fn use_config(device: &Device) -> Verdict {
    let config = config(device)?;
    for at in (0..SIZE as u64).step_by(4) {
        let what = format!("reading 4 bytes at {at:#x} of the configuration space");
        succeeds(device.read(&config, at, &mut [0; 4]), &what)?;
    }
    let mut command = [0; 2];
    let what = |how: &str| format!("{how} PCI_COMMAND");
    succeeds(
        device.read(&config, COMMAND, &mut command),
        &what("reading"),
    )?;
    succeeds(device.write(&config, COMMAND, &command), &what("writing"))?;
    let mut found = [0; 2];
    succeeds(device.read(&config, COMMAND, &mut found), &what("reading"))?;
    ensure(found == command, || {
        format!("PCI_COMMAND reads {found:02x?} after {command:02x?} was written")
    })
}

/// Returns the kinds of interrupts that the device can deliver to an eventfd; not applicable if it
/// has none.
fn kinds(device: &Device) -> Verdict<Vec<u32>> {
    let kinds: Vec<u32> = [
        uapi::VFIO_PCI_INTX_IRQ_INDEX,
        uapi::VFIO_PCI_MSI_IRQ_INDEX,
        uapi::VFIO_PCI_MSIX_IRQ_INDEX,
    ]
    .into_iter()
    .filter(|index| {
        let mut kinds = device.interrupts().iter();
        kinds.any(|irq| irq.index == *index && irq.count > 0 && irq.eventfd)
    })
    .collect();
    if kinds.is_empty() {
        return not_applicable("the device has no interrupts");
    }
    Ok(kinds)
}

/// Sets an interrupt of each kind up and turns it off.
fn use_interrupts(device: &Device) -> Verdict {
    for index in kinds(device)? {
        let interrupt = Interrupt::of_index(device, index)?;
        let what = format!("turning interrupts of the index {index} off");
        succeeds(interrupt.turn_off(), &what)?;
    }
    Ok(())
}

/// Uses a stopped device, whose state and stream must not change.
fn interacts(subject: &Subject, state: State, with: fn(&Device) -> Verdict) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.fits()?;
    let session = v2.go(subject, state)?;
    with(&v2.open.device)?;
    v2.is_in(state, "after it")?;
    match (session, state) {
        (Some(session), State::StopCopy) => {
            let stream = session.drain(1 << 20)?;
            v2.set(State::Running)?;
            v2.load(&stream, 1 << 20)
        }
        _ => v2.set(State::Running).map(drop),
    }?;
    v2.save(1 << 20).map(drop)
}

/// Reads a word of each BAR and writes it back; the calls may fail.
fn touched(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    let session = v2.go(subject, state)?;
    let device = &v2.open.device;
    let last = uapi::VFIO_PCI_BAR5_REGION_INDEX;
    let bars = device
        .regions()
        .iter()
        .filter(|region| region.index <= last && region.size >= 4 && region.kind.is_none());
    let mut any = false;
    for bar in bars {
        let mut word = [0; 4];
        let _ = device.read(bar, 0, &mut word);
        let _ = device.write(bar, 0, &word);
        any = true;
    }
    drop(session);
    v2.reset()?;
    v2.load(V2::stream_of(subject)?, 1 << 20)?;
    if any {
        return v2.save(1 << 20).map(drop);
    }
    not_applicable("the device has no BARs")
}

fn load(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let device = &v2.open.device;
    // What QEMU would have in its own stream.
    let config = config(device)?;
    let mut command = [0; 2];
    let what = "reading PCI_COMMAND";
    succeeds(device.read(&config, COMMAND, &mut command), what)?;
    let index = kinds(device)?.pop().expect("one kind at least");
    let session = v2.begin(State::Resuming)?;
    let what = "writing the device's own stream";
    succeeds(session.fill(V2::stream_of(subject)?, 1 << 20), what)?;
    let what = "writing PCI_COMMAND";
    succeeds(device.write(&config, COMMAND, &command), what)?;
    let interrupt = Interrupt::of_index(device, index)?;
    v2.is_in(State::Resuming, "after the configuration was restored")?;
    v2.set(State::Running)?;
    drop(session);
    // As at the end of a guest.
    v2.set(State::Stop)?;
    succeeds(interrupt.turn_off(), "turning interrupts off in STOP")?;
    v2.set(State::Running)?;
    v2.save(1 << 20).map(drop)
}

fn reset_by_config(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    let device = &v2.open.device;
    let config = config(device)?;
    let mut bytes = [0; SIZE];
    let what = "reading the configuration space";
    succeeds(device.read_all(&config, 0, &mut bytes), what)?;
    let Some(flr) = flr(&bytes) else {
        return not_applicable("the device has no function level reset");
    };
    let session = v2.go(subject, state)?;
    // The write may be refused; what follows checks the device in either case.
    let _ = device.write(&config, flr.at, &flr.bytes);
    let found = v2.state()?;
    ensure(found == state || found == State::Running, || {
        format!("after a function level reset in {state} the state is {found}")
    })?;
    if let (Some(session), State::Running) = (&session, found) {
        session_is_over(session, state)?;
    }
    v2.reset()?;
    v2.load(V2::stream_of(subject)?, 1 << 20)?;
    v2.save(1 << 20).map(drop)
}

/// Demands that a file neither gives nor takes data.
fn session_is_over(session: &Stream, state: State) -> Verdict {
    let moves = match state {
        State::Resuming => session.write(&[0]),
        _ => session.read(&mut [0; 8]),
    };
    ensure(!matches!(moves, Ok(1..)), || {
        format!("the session of {state} goes on when a function level reset has led to RUNNING")
    })
}
