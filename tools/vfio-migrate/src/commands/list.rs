// SPDX-License-Identifier: GPL-2.0-only

//! `vfio-migrate list`

use std::fmt;

use clap::Args;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::migrate::mapped_region::MappedRegion;
use crate::migrate::protocol::{Migration, Phase, Protocol};
use crate::migrate::region::REGION_2018;
use crate::migrate::region_2018::{Region2018, HEADER};
use crate::migrate::session;
use crate::output::Output;
use crate::pci::{Address, Bus, Function, Identity};
use crate::vfio::AddressSpace;

/// List VFIO devices, the migration protocols each offers, and its state.
///
/// A device that nobody uses is opened for a moment to ask it, which scrubs it as any opening does.
/// A device in use is left alone and shown as busy.
#[derive(Args, Debug)]
pub struct List {
    /// Open no device: show only what sysfs tells
    #[arg(long)]
    no_open: bool,
}

/// One VFIO device.
#[derive(Debug, Serialize)]
struct Entry {
    address: Address,
    identity: Option<Identity>,
    driver: Option<String>,
    group: Option<u32>,
    #[serde(flatten)]
    answer: Answer,
}

/// What a device says when it is opened.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Unasked,
    Busy,
    Unreachable {
        reason: String,
        remedy: Option<String>,
    },
    Free {
        protocols: Vec<Protocol>,
        state: Option<Phase>,
    },
}

/// All of them.
#[derive(Debug, Serialize)]
struct Devices {
    devices: Vec<Entry>,
    /// A device that could be bound to a VFIO driver.
    #[serde(skip)]
    could_be: Option<Address>,
}

impl List {
    /// Runs the command.
    pub fn run(&self, output: &Output) -> Result<()> {
        let bus = Bus::default();
        let (devices, others): (Vec<_>, Vec<_>) =
            bus.functions().into_iter().partition(Function::is_vfio);
        let mut others = others.iter();
        let could_be = others.find(|function| function.identity() == Some(Identity::EDU));
        output.result(&Devices {
            devices: devices
                .iter()
                .map(|function| self.entry(&bus, function))
                .collect(),
            could_be: could_be.map(|function| function.address),
        })
    }

    fn entry(&self, bus: &Bus, function: &Function) -> Entry {
        let answer = if self.no_open {
            Answer::Unasked
        } else {
            ask(bus, function.address).unwrap_or_else(|error| match error {
                Error::Busy { .. } => Answer::Busy,
                error => Answer::Unreachable {
                    reason: error.to_string(),
                    remedy: error.remedy(),
                },
            })
        };
        Entry {
            address: function.address,
            identity: function.identity(),
            driver: function.driver(),
            group: function.group(),
            answer,
        }
    }
}

fn ask(bus: &Bus, address: Address) -> Result<Answer> {
    let (_memory, device) = AddressSpace::open(bus, address)?;
    let state = match device.region_of(REGION_2018) {
        Some(info) => {
            let region = MappedRegion::new(&device, info, HEADER, false)?;
            Some(Region2018::new(Box::new(region)).phase()?)
        }
        None => None,
    };
    Ok(Answer::Free {
        protocols: session::protocols(&device),
        state,
    })
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.devices.is_empty() {
            f.write_str("no device is bound to a VFIO driver")?;
            return match self.could_be {
                Some(address) => writeln!(f, "; 'scripts/bind {address}' binds one"),
                None => writeln!(f, ", and there is none that rvfio has a driver for"),
            };
        }
        for entry in &self.devices {
            let Entry {
                address,
                identity,
                driver,
                group,
                answer,
            } = entry;
            write!(f, "{address}")?;
            if let Some(identity) = identity {
                write!(f, "  {identity}")?;
            }
            write!(f, "  {}", driver.as_deref().unwrap_or("-"))?;
            if let Some(group) = group {
                write!(f, "  group {group}")?;
            }
            writeln!(f, "  {answer}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unasked => Ok(()),
            Self::Busy => f.write_str("busy: in use by another process"),
            Self::Unreachable {
                reason,
                remedy: None,
            } => f.write_str(reason),
            Self::Unreachable {
                reason,
                remedy: Some(remedy),
            } => write!(f, "{reason}; {remedy}"),
            Self::Free { protocols, .. } if protocols.is_empty() => f.write_str("not migratable"),
            Self::Free { protocols, state } => {
                let names: Vec<String> = protocols.iter().map(Protocol::to_string).collect();
                f.write_str(&names.join(", "))?;
                state.map_or(Ok(()), |state| write!(f, "  {state}"))
            }
        }
    }
}
