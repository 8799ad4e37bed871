// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate info`

use std::fmt;

use clap::Args;
use serde::Serialize;

use crate::error::Result;
use crate::migrate::protocol::{Pending, Phase, Protocol};
use crate::migrate::region::Layout;
use crate::migrate::session::{self, Session};
use crate::output::Output;
use crate::pci::{Address, Identity};
use crate::vfio::{IrqInfo, RegionInfo};

/// Show a device's regions, capabilities, interrupts and migration state.
///
/// Opens the device, which scrubs it.
#[derive(Args, Debug)]
pub struct Info {
    /// Address of the device, such as 0000:00:04.0, or UUID of a mediated one
    #[arg(value_name = "BDF")]
    address: Address,
}

/// What there is to know about a device.
#[derive(Debug, Serialize)]
struct About {
    address: Address,
    identity: Option<Identity>,
    resettable: bool,
    protocols: Vec<Protocol>,
    migration: Option<State>,
    regions: Vec<RegionInfo>,
    interrupts: Vec<IrqInfo>,
}

/// The device's migration state.
#[derive(Debug, Serialize)]
struct State {
    protocol: Protocol,
    state: Phase,
    pending: Pending,
    region: Option<Layout>,
}

impl Info {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let session = Session::open(self.address)?;
        let device = session.device();
        let protocols = session::protocols(device);
        let migration = if protocols.contains(&Protocol::Region2018) {
            let mut migration = session.migration(false)?;
            Some(State {
                protocol: migration.protocol(),
                state: migration.phase()?,
                pending: migration.pending()?,
                region: migration.layout(),
            })
        } else {
            None
        };
        output.result(&About {
            address: self.address,
            identity: session.identity(),
            resettable: device.resettable(),
            protocols,
            migration,
            regions: device.regions().to_vec(),
            interrupts: device.interrupts().to_vec(),
        })
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if let Some(identity) = self.identity {
            write!(f, "  {identity}")?;
        }
        writeln!(
            f,
            "  {}",
            if self.resettable {
                "can be reset"
            } else {
                "cannot be reset"
            }
        )?;
        match self.protocols.as_slice() {
            [] => writeln!(f, "migration: none")?,
            protocols => {
                let names: Vec<String> = protocols.iter().map(Protocol::to_string).collect();
                writeln!(f, "migration: {}", names.join(", "))?;
            }
        }
        if let Some(State {
            protocol,
            state,
            pending,
            region,
        }) = &self.migration
        {
            writeln!(f, "  {protocol}: {state}")?;
            if let Some(layout) = region {
                writeln!(f, "  region: {layout}")?;
            }
            let Pending {
                precopy_only,
                compatible,
                postcopy_only,
            } = pending;
            writeln!(
                f,
                "  pending bytes: {precopy_only} before the target starts, {compatible} at any \
                 time, {postcopy_only} after the source stopped"
            )?;
        }
        writeln!(f, "regions:")?;
        for region in self.regions.iter().filter(|region| region.size != 0) {
            describe(f, region)?;
        }
        writeln!(f, "interrupts:")?;
        for irq in self.interrupts.iter().filter(|irq| irq.count != 0) {
            let marks = [
                (irq.eventfd, "eventfd"),
                (irq.maskable, "maskable"),
                (irq.automasked, "automasked"),
            ];
            writeln!(
                f,
                "  {} {:8} {}  {}",
                irq.index,
                irq.name,
                irq.count,
                chosen(&marks)
            )?;
        }
        Ok(())
    }
}

fn describe(f: &mut fmt::Formatter<'_>, region: &RegionInfo) -> fmt::Result {
    let marks = [
        (region.readable, "read"),
        (region.writable, "write"),
        (region.mappable, "mmap"),
    ];
    write!(
        f,
        "  {} {:8} {:#10x} bytes  {}",
        region.index,
        region.name,
        region.size,
        chosen(&marks)
    )?;
    if let Some((kind, subtype)) = region.kind {
        write!(f, "  type {kind:#x} subtype {subtype}")?;
    }
    writeln!(f)?;
    for area in region.sparse.iter().flatten() {
        writeln!(
            f,
            "             mappable: {:#x} bytes at {:#x}",
            area.size, area.offset
        )?;
    }
    Ok(())
}

fn chosen(marks: &[(bool, &str)]) -> String {
    let words: Vec<&str> = marks
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| *word)
        .collect();
    words.join(" ")
}
