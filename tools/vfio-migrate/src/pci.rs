// SPDX-License-Identifier: GPL-2.0-only

//! PCI devices as sysfs shows them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Address of a PCI function: domain, bus, device, function.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Address {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
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
        parse_address(text)
            .ok_or_else(|| format!("'{text}' is not a PCI address such as 0000:00:04.0"))
    }
}

fn parse_address(text: &str) -> Option<Address> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let device = u8::from_str_radix(parts.next()?, 16).ok()?;
    let bus = u8::from_str_radix(parts.next()?, 16).ok()?;
    let domain = match parts.next() {
        Some(domain) => u32::from_str_radix(domain, 16).ok()?,
        None => 0,
    };
    let function = u8::from_str_radix(function, 16).ok()?;
    (parts.next().is_none() && device < 32 && function < 8).then_some(Address {
        domain,
        bus,
        device,
        function,
    })
}

/// Vendor and device number of a PCI function.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// A PCI function in sysfs.
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    path: PathBuf,
}

/// The sysfs directory of PCI devices.
#[derive(Clone, Debug)]
pub struct Bus {
    root: PathBuf,
}

impl Default for Bus {
    fn default() -> Self {
        Self::new("/sys/bus/pci/devices")
    }
}

impl Bus {
    /// The bus with its devices in that directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The device at an address.
    pub fn function(&self, address: Address) -> Option<Function> {
        let path = self.root.join(address.to_string());
        path.exists().then_some(Function { address, path })
    }

    /// All devices, by address.
    pub fn functions(&self) -> Vec<Function> {
        let mut found: Vec<Function> = fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let address = entry.file_name().to_str()?.parse().ok()?;
                Some(Function {
                    address,
                    path: entry.path(),
                })
            })
            .collect();
        found.sort_by_key(|function| function.address);
        found
    }
}

impl Function {
    /// Vendor and device number.
    pub fn identity(&self) -> Option<Identity> {
        Some(Identity {
            vendor: self.hex("vendor")?,
            device: self.hex("device")?,
        })
    }

    /// Name of the driver that is bound.
    pub fn driver(&self) -> Option<String> {
        link_name(&self.path.join("driver"))
    }

    /// Whether the driver is one of VFIO's: those give the device a `vfio-dev` directory.
    pub fn is_vfio(&self) -> bool {
        self.path.join("vfio-dev").is_dir()
    }

    /// Number of the IOMMU group.
    pub fn group(&self) -> Option<u32> {
        link_name(&self.path.join("iommu_group"))?.parse().ok()
    }

    /// The other devices of the IOMMU group that have a driver which is none of VFIO's.
    pub fn strangers_in_group(&self) -> Vec<(Address, String)> {
        Bus::new(self.path.join("iommu_group/devices"))
            .functions()
            .into_iter()
            .filter(|other| !other.is_vfio())
            .filter_map(|other| Some((other.address, other.driver()?)))
            .collect()
    }

    fn hex(&self, attribute: &str) -> Option<u16> {
        let text = fs::read_to_string(self.path.join(attribute)).ok()?;
        u16::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
    }
}

fn link_name(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn addresses() {
        assert_eq!(
            "00:1f.7".parse::<Address>().unwrap().to_string(),
            "0000:00:1f.7"
        );
        assert_eq!(
            "10000:e1:00.0".parse::<Address>().unwrap().to_string(),
            "10000:e1:00.0"
        );
        for wrong in ["", "00:20.0", "00:04.8", "00:04", "0:0:0:0.0", "00:zz.0"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_sysfs() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("0000:00:04.0");
        fs::create_dir_all(device.join("vfio-dev/vfio0")).unwrap();
        fs::write(device.join("vendor"), "0x1234\n").unwrap();
        fs::write(device.join("device"), "0x11e8\n").unwrap();
        symlink("../../drivers/edu_vfio_pci", device.join("driver")).unwrap();
        symlink("../../kernel/iommu_groups/7", device.join("iommu_group")).unwrap();
        fs::create_dir(root.path().join("0000:00:01.0")).unwrap();

        let bus = Bus::new(root.path());
        let found = bus.functions();
        assert_eq!(found.len(), 2);
        assert!(!found[0].is_vfio());
        assert_eq!(found[0].group(), None);
        assert!(found[1].is_vfio());
        assert_eq!(found[1].identity().unwrap().to_string(), "1234:11e8");
        assert_eq!(found[1].driver().as_deref(), Some("edu_vfio_pci"));
        assert_eq!(found[1].group(), Some(7));
        assert!(bus.function("00:09.0".parse().unwrap()).is_none());
    }
}
