// SPDX-License-Identifier: GPL-2.0-only

//! What to do about an error.

use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;

use super::Error;
use crate::pci::{Address, Identity};

impl Error {
    /// What the user can do about it.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::NotRoot { path, .. } => match udev_match(path) {
                Some(rule) => format!(
                    "run as root, or have root give you the file: 'chown USER {}' until the device \
                     is bound anew, or for good by a udev rule, {rule}, OWNER=\"USER\"",
                    path.display()
                ),
                None => "run as root".into(),
            },
            Self::NoDevice(_) => "'vfio-migrate list' and 'lspci -D' show the addresses".into(),
            Self::NotBound {
                address, identity, ..
            } if has_driver(*address, *identity) => {
                format!("bind it with 'scripts/bind {address}'")
            }
            Self::NotBound { .. } => "rvfio has no driver for it; 'vfio-migrate list' shows the \
                devices that a VFIO driver has"
                .into(),
            Self::NoVfio(_) => {
                "load VFIO with 'modprobe vfio-pci'; the kernel needs CONFIG_VFIO_CONTAINER".into()
            }
            Self::NoIommu(_) => "add intel_iommu=on (or amd_iommu=on) to the kernel's command \
                line, enable the IOMMU in the firmware, or give the virtual machine one"
                .into(),
            Self::NoIommufd(_) => "it needs CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV; \
                '--iommu container' goes without"
                .into(),
            Self::GroupNotViable { .. } => {
                "bind every device of the group to a VFIO driver, or unbind it from its own".into()
            }
            Self::Busy { group, .. } => {
                format!("'fuser -v /dev/vfio/{group}' shows who has it; one process at a time can")
            }
            Self::NoType1 => "load it with 'modprobe vfio_iommu_type1'".into(),
            Self::IommuRefused(Errno::PERM) => "the IOMMU remaps no interrupts: enable interrupt \
                remapping (intremap=on), or load vfio_iommu_type1 with allow_unsafe_interrupts=1 \
                if every guest is trusted"
                .into(),
            Self::NoMigration(address) => format!(
                "'vfio-migrate info {address}' shows what it has; plain vfio-pci migrates nothing"
            ),
            Self::NotMounted { name, path } => {
                format!("mount it with 'mount -t {name} {name} {}'", path.display())
            }
            Self::NoStatus {
                address, identity, ..
            } if has_driver(*address, *identity) => format!(
                "bind it to a driver that migrates with 'scripts/bind {address}'; plain vfio-pci \
                 shows nothing"
            ),
            Self::NoStatus { .. } => "only drivers made with rvfio show it, and there is none for \
                this device"
                .into(),
            Self::Memlock { needed, limit, .. } => {
                let limit = limit.map_or_else(String::new, |limit| {
                    format!(" of {} KiB, which 'ulimit -l' shows,", limit / 1024)
                });
                format!(
                    "raise the user's limit of locked memory{limit} to more than {} KiB ('memlock' \
                     in /etc/security/limits.d, then log in again), or run as root",
                    needed / 1024
                )
            }
            Self::File { path, source } => return of_output(path, source),
            Self::Input { path, source } => return of_input(path, source),
            Self::NoDirectory(path) => format!(
                "make it with 'mkdir -p {}', or name a file elsewhere",
                path.display()
            ),
            Self::OwnerLost(path) => format!(
                "name another file, or remove it first: 'rm {}'",
                path.display()
            ),
            Self::Network { source, .. } => return of_network(source),
            Self::NoEvents => "watch without --events; events need CONFIG_EVENT_TRACING in the \
                kernel, and modules that were built with it and are not older than this program"
                .into(),
            Self::Refused { .. } => "the kernel log says why: 'dmesg | tail'".into(),
            Self::NoCheck(_) => "'vfio-migrate check --list' shows the names".into(),
            Self::TargetUnknown => {
                "look at the other side: if the device does not run there, start the save again"
                    .into()
            }
            Self::BadImage(_) => "'vfio-migrate dump' shows an image as far as it is right".into(),
            _ => return None,
        })
    }
}

/// Whether a driver of this project takes a device.
fn has_driver(address: Address, identity: Option<Identity>) -> bool {
    matches!(address, Address::Pci { .. }) && identity == Some(Identity::EDU)
}

/// What to do about a file that cannot be written.
fn of_output(path: &Path, error: &io::Error) -> Option<String> {
    let path = path.display();
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!(
                "make room where {path} is ('df -h' shows how much there is), or write elsewhere"
            )
        }
        ErrorKind::NotFound => format!("'ls -ld {path}' shows how far the name is right"),
        ErrorKind::PermissionDenied => {
            format!("'ls -ld {path}' shows who may write there: name another file, or run as root")
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            "name a file elsewhere".into()
        }
        ErrorKind::FileTooLarge => "raise the limit that 'ulimit -f' shows".into(),
        ErrorKind::BrokenPipe => "whoever reads it must read to the end".into(),
        _ => return None,
    })
}

/// What to do about a file that cannot be read.
fn of_input(path: &Path, error: &io::Error) -> Option<String> {
    let path = path.display();
    Some(match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            format!("'ls -ld {path}' shows how far the name is right")
        }
        ErrorKind::PermissionDenied => {
            format!("'ls -ld {path}' shows who may read it: run as one of those")
        }
        ErrorKind::IsADirectory => "name a file in it".into(),
        _ => return None,
    })
}

/// What to do about a connection that cannot be used.
fn of_network(error: &io::Error) -> Option<String> {
    Some(match error.kind() {
        ErrorKind::ConnectionRefused => {
            "start 'vfio-migrate recv' there first, and name the port at which it listens".into()
        }
        ErrorKind::AddrInUse => {
            "another program listens there: name another port, or 0 for a free one".into()
        }
        ErrorKind::AddrNotAvailable => {
            "name an address of this host ('ip address' shows them), or 0.0.0.0 for all".into()
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "the network leads nowhere: 'ping' and 'ip route' show how far it goes".into()
        }
        ErrorKind::PermissionDenied => "name a port above 1023, or run as root".into(),
        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
            "the other side has ended the connection: what it printed says why".into()
        }
        // A socket reports a time-out by these.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            "nothing came from the other side: see whether it still runs, and whether a firewall \
             lies between"
                .into()
        }
        _ => return None,
    })
}

/// What a udev rule for a file of VFIO's or of iommufd's matches.
fn udev_match(path: &Path) -> Option<&'static str> {
    if path.starts_with("/dev/vfio/devices") {
        Some("SUBSYSTEM==\"vfio-dev\"")
    } else if path.starts_with("/dev/vfio") {
        Some("SUBSYSTEM==\"vfio\"")
    } else {
        (path == Path::new("/dev/iommu")).then_some("KERNEL==\"iommu\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cause_and_remedy() {
        let address: Address = "00:04.0".parse().unwrap();
        let error = Error::NotBound {
            address,
            driver: Some("edu".into()),
            identity: Some(Identity::EDU),
        };
        assert_eq!(error.exit_code(), 3);
        assert_eq!(
            error.to_string(),
            "0000:00:04.0 is not bound to a VFIO driver: the driver 'edu' has it"
        );
        assert!(error
            .remedy()
            .unwrap()
            .contains("scripts/bind 0000:00:04.0"));
    }

    #[test]
    fn only_a_device_with_a_driver_of_ours_is_to_be_bound() {
        let root_port = Identity {
            vendor: 0x1b36,
            device: 0x000c,
        };
        let uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
        for (address, identity, bind) in [
            ("00:04.0", Some(Identity::EDU), true),
            ("00:04.0", Some(root_port), false),
            ("00:04.0", None, false),
            (uuid, Some(Identity::EDU), false),
        ] {
            let address: Address = address.parse().unwrap();
            let not_bound = Error::NotBound {
                address,
                driver: Some("pcieport".into()),
                identity,
            };
            let no_status = Error::NoStatus {
                address,
                driver: "vfio-pci".into(),
                identity,
            };
            for error in [not_bound, no_status] {
                let remedy = error.remedy().unwrap();
                assert_eq!(remedy.contains("scripts/bind"), bind, "{remedy}");
            }
        }
    }

    #[test]
    fn what_a_plain_user_lacks_is_named() {
        for (path, rule) in [
            ("/dev/vfio/7", "SUBSYSTEM==\"vfio\","),
            ("/dev/vfio/devices/vfio0", "SUBSYSTEM==\"vfio-dev\","),
            ("/dev/iommu", "KERNEL==\"iommu\","),
        ] {
            let error = Error::NotRoot {
                path: path.into(),
                errno: Errno::ACCESS,
            };
            let remedy = error.remedy().unwrap();
            for word in ["root", &format!("chown USER {path}'"), "udev", rule] {
                assert!(remedy.contains(word), "{remedy}");
            }
        }
        let error = Error::Memlock {
            step: "mapping 16384 KiB for the device at 0x1000000".into(),
            needed: 16 << 20,
            limit: Some(8 << 20),
        };
        assert_eq!(error.exit_code(), 3);
        assert_eq!(error.to_json()["error"]["errno"], "ENOMEM");
        let remedy = error.remedy().unwrap();
        for word in ["ulimit -l", "8192 KiB", "16384 KiB", "memlock", "root"] {
            assert!(remedy.contains(word), "{remedy}");
        }
    }
}
