// SPDX-License-Identifier: GPL-2.0-only

//! The device under attack, as all threads share it.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::sys::{self, Reservation, Result, PAGE};
use crate::uapi::*;

/// A region of the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Region {
    /// Its offset in the device's file.
    pub position: u64,
    /// Bytes in it.
    pub size: u64,
}

/// Where everything is.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// All regions by index, of size 0 if there is none.
    pub regions: Vec<Region>,
    /// The migration region of November 2018.
    pub region_2018: Region,
    /// The migration region of Linux 5.8.
    pub region_v1: Region,
}

/// A place for a file that any thread may take, replace or close.
#[derive(Default)]
pub struct Slot(Mutex<Option<Arc<OwnedFd>>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Returns the file, which stays open even if another thread replaces it.
    pub fn get(&self) -> Option<Arc<OwnedFd>> {
        self.lock().clone()
    }

    /// Puts a file there and returns the one before.
    pub fn put(&self, file: Option<Arc<OwnedFd>>) -> Option<Arc<OwnedFd>> {
        std::mem::replace(&mut *self.lock(), file)
    }
}

/// Guest memory at the start of the arena, in bytes.
pub const RAM: usize = 4 << 20;

/// Number of places for mappings of the device, after the guest memory.
pub const SLOTS: usize = 16;
/// Bytes of each.
pub const SLOT: usize = 64 * PAGE;

/// What the threads of one round share.
pub struct Shared {
    /// The device's name: an address or a UUID.
    pub name: String,
    /// Its group's file.
    pub group_path: PathBuf,
    /// Whether it is a mediated device.
    pub is_virtual: bool,
    /// Files that show it in debugfs.
    pub debugfs: Vec<PathBuf>,
    /// Its container.
    pub container: OwnedFd,
    /// Its group.
    pub group: OwnedFd,
    /// The device, opened up to twice.
    pub devices: [Slot; 2],
    /// Data files of v2.
    pub streams: [Slot; 3],
    /// Eventfds for interrupts.
    pub events: Vec<OwnedFd>,
    /// Images that were saved as a whole, by any protocol.
    pub images: Mutex<Vec<Vec<u8>>>,
    /// Guest memory and places for mappings.
    pub arena: Reservation,
    /// Where everything is.
    pub layout: Layout,
}

impl Shared {
    /// Opens the device by a group and a container of its own.
    pub fn open(name: &str, arena: Reservation) -> Result<Self> {
        let is_virtual = !name.contains(':');
        let bus = if is_virtual { "mdev" } else { "pci" };
        let home = PathBuf::from(format!("/sys/bus/{bus}/devices/{name}"));
        let number = link_name(&home.join("iommu_group"));
        let group_path = Path::new("/dev/vfio").join(number);
        let driver = link_name(&home.join("driver"));
        let debugfs = Path::new("/sys/kernel/debug").join(driver).join(name);

        let container = sys::open(Path::new("/dev/vfio/vfio"))?;
        let group = sys::open(&group_path)?;
        arena.map(0, RAM, sys::MapHow::MEMORY)?;
        arena.store(0, &container.as_raw_fd().to_ne_bytes())?;
        sys::ioctl(group.as_raw_fd(), GROUP_SET_CONTAINER, arena.at(0))?;
        sys::ioctl_number(container.as_raw_fd(), SET_IOMMU, TYPE1V2)?;
        let mut shared = Self {
            name: name.to_owned(),
            group_path,
            is_virtual,
            debugfs: files_of(&debugfs),
            container,
            group,
            devices: Default::default(),
            streams: Default::default(),
            events: (0..4).map(|_| sys::eventfd()).collect::<Result<_>>()?,
            images: Mutex::default(),
            arena,
            layout: Layout::default(),
        };
        let device = shared.open_device(arena)?;
        shared.layout = shared.find_regions(&device)?;
        shared.devices[0].put(Some(device));
        Ok(shared)
    }

    /// Opens the device, possibly once more; `memory` holds its name for the call.
    pub fn open_device(&self, memory: Reservation) -> Result<Arc<OwnedFd>> {
        let mut name = self.name.clone().into_bytes();
        name.push(0);
        memory.store(0, &name)?;
        let fd = sys::ioctl(self.group.as_raw_fd(), GROUP_GET_DEVICE_FD, memory.at(0))?;
        // CAST: A descriptor.
        sys::adopt(fd as i32)
            .map(Arc::new)
            .ok_or(sys::Errno(libc::EBADF))
    }

    /// Asks the device for its regions.
    fn find_regions(&self, device: &OwnedFd) -> Result<Layout> {
        let mut layout = Layout::default();
        for index in 0..32_u32 {
            let mut answer = [0_u8; 4096];
            answer[..4].copy_from_slice(&4096_u32.to_ne_bytes());
            answer[8..12].copy_from_slice(&index.to_ne_bytes());
            self.arena.store(0, &answer)?;
            if sys::ioctl(device.as_raw_fd(), DEVICE_GET_REGION_INFO, self.arena.at(0)).is_err() {
                layout.regions.push(Region::default());
                continue;
            }
            self.arena.load(0, &mut answer)?;
            let word = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().unwrap());
            let long = |at: usize| u64::from_ne_bytes(answer[at..at + 8].try_into().unwrap());
            let region = Region {
                size: long(16),
                position: long(24),
            };
            // Capabilities: the type of a migration region.
            let mut at = word(12) as usize;
            while word(4) & 8 != 0 && at != 0 && at < 4000 {
                if word(at) & 0xffff == 2 {
                    match (word(at + 8), word(at + 12)) {
                        (0x4000_0000, 1) => layout.region_2018 = region,
                        (3, 1) => layout.region_v1 = region,
                        _ => {}
                    }
                }
                at = word(at + 4) as usize;
            }
            layout.regions.push(region);
        }
        Ok(layout)
    }
}

/// The last part of what a link points to.
fn link_name(link: &Path) -> OsString {
    let target = std::fs::read_link(link).unwrap_or_default();
    target.file_name().unwrap_or_default().to_owned()
}

/// Regular files in a directory.
fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}
