// SPDX-License-Identifier: GPL-2.0-only

//! PCI functions, physical and mediated, as sysfs shows them.

mod address;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use address::Address;

/// Vendor and device number of a PCI function.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
}

impl Identity {
    /// QEMU's edu, the device that this project has drivers for.
    pub const EDU: Self = Self {
        vendor: 0x1234,
        device: 0x11e8,
    };
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

/// The sysfs directories of the devices.
#[derive(Clone, Debug)]
pub struct Bus {
    roots: Vec<PathBuf>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            roots: vec![
                "/sys/bus/pci/devices".into(),
                "/sys/bus/mdev/devices".into(),
            ],
        }
    }
}

impl Bus {
    /// The bus with its devices in that directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            roots: vec![root.into()],
        }
    }

    /// The device at an address.
    pub fn function(&self, address: Address) -> Option<Function> {
        let paths = self.roots.iter().map(|root| root.join(address.to_string()));
        let path = paths.into_iter().find(|path| path.exists())?;
        Some(Function { address, path })
    }

    /// All devices, by address: the physical ones first.
    pub fn functions(&self) -> Vec<Function> {
        let mut found: Vec<Function> = self
            .roots
            .iter()
            .filter_map(|root| fs::read_dir(root).ok())
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
    /// Vendor and device number; for a mediated device, those of its parent, which it mimics.
    pub fn identity(&self) -> Option<Identity> {
        let path = match self.address {
            Address::Pci { .. } => self.path.clone(),
            Address::Mdev(_) => fs::canonicalize(&self.path).ok()?.parent()?.to_owned(),
        };
        Some(Identity {
            vendor: hex(&path, "vendor")?,
            device: hex(&path, "device")?,
        })
    }

    /// Name of the driver that is bound.
    pub fn driver(&self) -> Option<String> {
        link_name(&self.path.join("driver"))
    }

    /// Whether a VFIO driver is bound: such a driver gives the device a `vfio-dev` directory.
    pub fn is_vfio(&self) -> bool {
        self.path.join("vfio-dev").is_dir()
    }

    /// VFIO's name for the device, which its file in `/dev/vfio/devices` has, too.
    pub fn vfio_name(&self) -> Option<String> {
        let mut names = fs::read_dir(self.path.join("vfio-dev")).ok()?;
        names.next()?.ok()?.file_name().into_string().ok()
    }

    /// Number of the IOMMU group.
    pub fn group(&self) -> Option<u32> {
        link_name(&self.path.join("iommu_group"))?.parse().ok()
    }

    /// The devices of the IOMMU group that are bound to a driver other than VFIO's, and these
    /// drivers.
    pub fn strangers_in_group(&self) -> Vec<(Address, String)> {
        Bus::new(self.path.join("iommu_group/devices"))
            .functions()
            .into_iter()
            .filter(|other| !other.is_vfio())
            .filter_map(|other| Some((other.address, other.driver()?)))
            .collect()
    }
}

fn hex(path: &Path, attribute: &str) -> Option<u16> {
    let text = fs::read_to_string(path.join(attribute)).ok()?;
    u16::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn link_name(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

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

    #[test]
    fn a_mediated_device_is_what_its_parent_is() {
        const UUID: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("devices/0000:00:04.0");
        fs::create_dir_all(parent.join(UUID).join("vfio-dev/vfio0")).unwrap();
        fs::write(parent.join("vendor"), "0x1234\n").unwrap();
        fs::write(parent.join("device"), "0x11e8\n").unwrap();
        let bus = root.path().join("mdev");
        fs::create_dir(&bus).unwrap();
        symlink(parent.join(UUID), bus.join(UUID)).unwrap();

        let bus = Bus::new(bus);
        let found = bus.function(UUID.parse().unwrap()).unwrap();
        assert!(found.is_vfio());
        assert_eq!(found.identity().unwrap().to_string(), "1234:11e8");
        assert_eq!(bus.functions().len(), 1);
    }
}
