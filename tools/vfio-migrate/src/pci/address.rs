// SPDX-License-Identifier: GPL-2.0-only

//! Names of devices: addresses of PCI functions and UUIDs of mediated devices.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The address of a device.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// A PCI function.
    Pci {
        /// PCI domain.
        domain: u32,
        /// Bus in the domain.
        bus: u8,
        /// Device on the bus, below 32.
        device: u8,
        /// Function of the device, below 8.
        function: u8,
    },
    /// A mediated device, by its UUID.
    Mdev(u128),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci {
                domain,
                bus,
                device,
                function,
            } => write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}"),
            Self::Mdev(uuid) => write!(
                f,
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                uuid >> 96,
                (uuid >> 80) & 0xffff,
                (uuid >> 64) & 0xffff,
                (uuid >> 48) & 0xffff,
                uuid & 0xffff_ffff_ffff
            ),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_pci(text).or_else(|| parse_uuid(text)).ok_or_else(|| {
            format!(
                "'{text}' is not a PCI address such as 0000:00:04.0, nor the UUID of a mediated device"
            )
        })
    }
}

fn parse_pci(text: &str) -> Option<Address> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let device = u8::from_str_radix(parts.next()?, 16).ok()?;
    let bus = u8::from_str_radix(parts.next()?, 16).ok()?;
    let domain = match parts.next() {
        Some(domain) => u32::from_str_radix(domain, 16).ok()?,
        None => 0,
    };
    let function = u8::from_str_radix(function, 16).ok()?;
    (parts.next().is_none() && device < 32 && function < 8).then_some(Address::Pci {
        domain,
        bus,
        device,
        function,
    })
}

fn parse_uuid(text: &str) -> Option<Address> {
    const DIGITS: [usize; 5] = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = text.split('-').collect();
    let is_uuid = groups.iter().map(|group| group.len()).eq(DIGITS)
        && groups
            .iter()
            .all(|group| group.bytes().all(|digit| digit.is_ascii_hexdigit()));
    is_uuid
        .then(|| u128::from_str_radix(&groups.concat(), 16).ok())
        .flatten()
        .map(Address::Mdev)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses() {
        for (text, shown) in [
            ("00:1f.7", "0000:00:1f.7"),
            ("10000:e1:00.0", "10000:e1:00.0"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for wrong in ["", "00:20.0", "00:04.8", "00:04", "0:0:0:0.0", "00:zz.0"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn uuids() {
        const UUID: &str = "03b8f4f2-009f-082f-0c1e-06bfe0fa1001";
        assert_eq!(UUID.parse::<Address>().unwrap().to_string(), UUID);
        assert_eq!(
            UUID.to_uppercase().parse::<Address>().unwrap().to_string(),
            UUID
        );
        for wrong in [
            "03b8f4f2-009f-082f-0c1e-06bfe0fa100",
            "03b8f4f2009f082f0c1e06bfe0fa1001",
            "03b8f4f2-009f-082f-0c1e+06bfe0fa1001",
            "+3b8f4f2-009f-082f-0c1e-06bfe0fa1001",
            "03b8f4f2-009f-082f-0c1e-06bfe0fa100g",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
