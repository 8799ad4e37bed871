// SPDX-License-Identifier: GPL-2.0-only

//! What a device tells about its regions and interrupts.

use serde::Serialize;
use vfio_bindings::bindings::vfio as uapi;

/// Names of the regions of a PCI device, by index.
const REGIONS: [&str; uapi::VFIO_PCI_NUM_REGIONS as usize] = [
    "BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "ROM", "config", "VGA",
];

/// Names of the interrupts of a PCI device, by index.
const INTERRUPTS: [&str; uapi::VFIO_PCI_NUM_IRQS as usize] =
    ["INTx", "MSI", "MSI-X", "error", "request"];

/// A part of a region that can be mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Area {
    /// Bytes from the start of the region.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// One region of a device.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct RegionInfo {
    /// Index of the region.
    pub index: u32,
    /// The region's name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Where the region begins in the device's file.
    pub offset: u64,
    /// Can be read.
    pub readable: bool,
    /// Can be written.
    pub writable: bool,
    /// Can be mapped, whole or in part.
    pub mappable: bool,
    /// Type and subtype, for a region that is not one of PCI's.
    #[serde(rename = "type")]
    pub kind: Option<(u32, u32)>,
    /// The parts that can be mapped, if not all can.
    pub sparse: Option<Vec<Area>>,
}

impl RegionInfo {
    /// Decodes a `struct vfio_region_info` with its capabilities.
    ///
    /// Capabilities that do not fit into the bytes are left out.
    pub fn parse(bytes: &[u8]) -> Self {
        let flags = word(bytes, 4);
        let index = word(bytes, 8);
        let mut region = Self {
            index,
            name: REGIONS
                .get(index as usize)
                .copied()
                .unwrap_or("device")
                .into(),
            size: long(bytes, 16),
            offset: long(bytes, 24),
            readable: flags & uapi::VFIO_REGION_INFO_FLAG_READ != 0,
            writable: flags & uapi::VFIO_REGION_INFO_FLAG_WRITE != 0,
            mappable: flags & uapi::VFIO_REGION_INFO_FLAG_MMAP != 0,
            ..Self::default()
        };
        if flags & uapi::VFIO_REGION_INFO_FLAG_CAPS == 0 {
            return region;
        }
        let mut at = word(bytes, 12) as usize;
        // A chain of capabilities runs forwards; one that does not is the kernel's mistake.
        while at >= size_of::<uapi::vfio_region_info>() && at + 8 <= bytes.len() {
            let capability = &bytes[at..];
            match u32::from(short(capability, 0)) {
                uapi::VFIO_REGION_INFO_CAP_TYPE => {
                    region.kind = Some((word(capability, 8), word(capability, 12)));
                }
                uapi::VFIO_REGION_INFO_CAP_SPARSE_MMAP => {
                    let count = word(capability, 8) as usize;
                    let areas = capability.get(16..).unwrap_or_default().chunks_exact(16);
                    region.sparse = Some(
                        areas
                            .take(count)
                            .map(|area| Area {
                                offset: long(area, 0),
                                size: long(area, 8),
                            })
                            .collect(),
                    );
                }
                _ => {}
            }
            let next = word(capability, 4) as usize;
            if next <= at {
                break;
            }
            at = next;
        }
        region
    }
}

/// One kind of interrupt of a device.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct IrqInfo {
    /// Index of the kind.
    pub index: u32,
    /// The name of these interrupts.
    pub name: String,
    /// How many there are.
    pub count: u32,
    /// They can be delivered to an eventfd.
    pub eventfd: bool,
    /// They can be masked.
    pub maskable: bool,
    /// They are masked when one is delivered.
    pub automasked: bool,
}

impl IrqInfo {
    /// Decodes a `struct vfio_irq_info`.
    pub fn parse(bytes: &[u8]) -> Self {
        let flags = word(bytes, 4);
        let index = word(bytes, 8);
        Self {
            index,
            name: INTERRUPTS
                .get(index as usize)
                .copied()
                .unwrap_or("device")
                .into(),
            count: word(bytes, 12),
            eventfd: flags & uapi::VFIO_IRQ_INFO_EVENTFD != 0,
            maskable: flags & uapi::VFIO_IRQ_INFO_MASKABLE != 0,
            automasked: flags & uapi::VFIO_IRQ_INFO_AUTOMASKED != 0,
        }
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
}

/// A 32-bit field of a kernel structure; 0 if the bytes end before it.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |b| u32::from_ne_bytes(b.try_into().expect("four bytes")))
}

/// A 64-bit field of a kernel structure; 0 if the bytes end before it.
fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |b| {
        u64::from_ne_bytes(b.try_into().expect("eight bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn reads_type_and_sparse_areas() {
        let bytes = words(&[
            80,
            0xf,
            9,
            32,
            0x4_1000,
            0,
            0,
            0x90, // the region itself
            0x0001_0002,
            48,
            1 << 30,
            1, // type
            0x0001_0001,
            0,
            1,
            0,
            0x1000,
            0,
            0x4_0000,
            0, // sparse areas
        ]);
        let region = RegionInfo::parse(&bytes);
        assert_eq!(region.size, 0x4_1000);
        assert_eq!(region.offset, 0x90_0000_0000);
        assert_eq!(region.kind, Some((1 << 30, 1)));
        assert_eq!(
            region.sparse,
            Some(vec![Area {
                offset: 0x1000,
                size: 0x4_0000
            }])
        );
        assert!(region.readable && region.writable && region.mappable);
        // Cut anywhere, it still ends.
        for len in 0..bytes.len() {
            RegionInfo::parse(&bytes[..len]);
        }
    }

    #[test]
    fn a_chain_that_loops_ends() {
        let bytes = words(&[48, 0xf, 9, 32, 0, 0, 0, 0, 0x0001_0002, 32, 3, 1]);
        assert_eq!(RegionInfo::parse(&bytes).kind, Some((3, 1)));
    }

    #[test]
    fn reads_interrupts() {
        let irq = IrqInfo::parse(&words(&[16, 7, 0, 1]));
        assert_eq!((irq.name.as_str(), irq.count), ("INTx", 1));
        assert!(irq.eventfd && irq.maskable && irq.automasked);
    }
}
