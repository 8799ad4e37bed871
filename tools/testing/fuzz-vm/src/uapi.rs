// SPDX-License-Identifier: GPL-2.0-only

//! Numbers of `<linux/vfio.h>`, `vfio_migration_region.h` and the edu device.

/// The number of a VFIO ioctl.
const fn io(number: u32) -> u32 {
    ((';' as u32) << 8) | (100 + number)
}

pub const CHECK_EXTENSION: u32 = io(1);
pub const SET_IOMMU: u32 = io(2);
pub const GROUP_GET_STATUS: u32 = io(3);
pub const GROUP_SET_CONTAINER: u32 = io(4);
pub const GROUP_UNSET_CONTAINER: u32 = io(5);
pub const GROUP_GET_DEVICE_FD: u32 = io(6);
pub const DEVICE_GET_INFO: u32 = io(7);
pub const DEVICE_GET_REGION_INFO: u32 = io(8);
pub const DEVICE_GET_IRQ_INFO: u32 = io(9);
pub const DEVICE_SET_IRQS: u32 = io(10);
pub const DEVICE_RESET: u32 = io(11);
pub const DEVICE_GET_PCI_HOT_RESET_INFO: u32 = io(12);
pub const DEVICE_PCI_HOT_RESET: u32 = io(13);
pub const DEVICE_IOEVENTFD: u32 = io(16);
pub const DEVICE_FEATURE: u32 = io(17);
pub const IOMMU_GET_INFO: u32 = io(12);
pub const IOMMU_MAP_DMA: u32 = io(13);
pub const IOMMU_UNMAP_DMA: u32 = io(14);
pub const IOMMU_DIRTY_PAGES: u32 = io(17);
pub const MIG_GET_PRECOPY_INFO: u32 = io(21);

/// Any VFIO ioctl.
pub const fn any(number: u32) -> u32 {
    io(number)
}

pub const TYPE1V2: i32 = 3;
pub const DMA_READ_WRITE: u32 = 3;
/// `VFIO_DMA_MAP_FLAG_VADDR`; `VFIO_DMA_UNMAP_FLAG_VADDR` has the same number.
pub const DMA_VADDR: u32 = 4;
pub const UNMAP_VADDR: u32 = 4;
pub const UNMAP_GET_DIRTY: u32 = 1;
pub const UNMAP_ALL: u32 = 2;

pub const FEATURE_GET: u32 = 1 << 16;
pub const FEATURE_SET: u32 = 1 << 17;
pub const FEATURE_PROBE: u32 = 1 << 18;
pub const FEATURE_MIG_DEVICE_STATE: u32 = 2;
pub const FEATURE_LOW_POWER_EXIT: u32 = 5;

pub const V2_STOP: u32 = 1;
pub const V2_RUNNING: u32 = 2;
pub const V2_STOP_COPY: u32 = 3;
pub const V2_RESUMING: u32 = 4;
pub const V2_PRE_COPY: u32 = 6;

pub const BAR0: usize = 0;
pub const CONFIG: usize = 7;
/// Offset of PCI_COMMAND, and its bits for memory and bus mastering.
pub const COMMAND: u64 = 4;
pub const COMMAND_BITS: u16 = 6;

/// Offsets in the header of region 2018.
pub mod region_2018 {
    pub const STATE: u64 = 0;
    pub const PENDING: u64 = 4;
    pub const THRESHOLD: u64 = 28;
    pub const OFFSET: u64 = 36;
    pub const SIZE: u64 = 44;
    pub const START: u64 = 52;
    pub const TOTAL: u64 = 60;
    pub const COPIED: u64 = 68;
    /// Offset and width of each field.
    pub const FIELDS: &[(u64, usize)] = &[
        (STATE, 4),
        (PENDING, 8),
        (12, 8),
        (20, 8),
        (THRESHOLD, 8),
        (OFFSET, 8),
        (SIZE, 8),
        (START, 8),
        (TOTAL, 8),
        (COPIED, 8),
        (PENDING, 24),
        (OFFSET, 16),
        (START, 16),
    ];
}

/// Offsets in the header of region v1.
pub mod region_v1 {
    pub const STATE: u64 = 0;
    pub const PENDING: u64 = 8;
    pub const OFFSET: u64 = 16;
    pub const SIZE: u64 = 24;
    /// Offset and width of each field.
    pub const FIELDS: &[(u64, usize)] = &[(STATE, 4), (4, 4), (PENDING, 8), (OFFSET, 8), (SIZE, 8)];
}

/// Offset of the data section in both migration regions.
pub const DATA: u64 = 4096;

/// Registers of the edu.
pub mod edu {
    pub const IDENTIFICATION: u64 = 0;
    pub const LIVENESS: u64 = 4;
    pub const FACTORIAL: u64 = 8;
    pub const STATUS: u64 = 0x20;
    pub const INTERRUPT_STATUS: u64 = 0x24;
    pub const RAISE: u64 = 0x60;
    pub const ACKNOWLEDGE: u64 = 0x64;
    pub const SOURCE: u64 = 0x80;
    pub const DESTINATION: u64 = 0x88;
    pub const COUNT: u64 = 0x90;
    pub const DMA_COMMAND: u64 = 0x98;
    pub const BUFFER: u64 = 0x40000;
    pub const NARROW: &[u64] = &[
        IDENTIFICATION,
        LIVENESS,
        FACTORIAL,
        STATUS,
        INTERRUPT_STATUS,
        RAISE,
        ACKNOWLEDGE,
    ];
    pub const WIDE: &[u64] = &[SOURCE, DESTINATION, COUNT, DMA_COMMAND];
    /// What identification reads.
    pub const IDENTITY: u32 = 0x0100_00ed;
    /// Bits of the command and of the status.
    pub const RUN: u64 = 1;
    pub const TO_MEMORY: u64 = 2;
    pub const COMPUTING: u32 = 1;
}
