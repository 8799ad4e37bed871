// SPDX-License-Identifier: GPL-2.0-only

//! The PCI function as the vfio-pci core keeps it.

use core::ops::Range;

use kernel::{
    device,
    error::{
        from_err_ptr,
        to_result, //
    },
    fmt,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        static_lock_class,
        Mutex, //
    },
    types::Opaque, //
};
use migration::{
    device::{
        Access,
        Width, //
    },
    image::Identity,
    trapped::BARS, //
};

use super::{
    memory::Access as MemoryAccess,
    passes::Passes,
    pins::Pins,
    resets::Resets,
    scope::Scope, //
};
use crate::{
    bindings,
    device::{
        DirtyScope,
        Host,
        Moment, //
    },
    lock::lock_name,
    log::{
        Budget,
        Level,
        Logs, //
    },
};

/// A PCI function that the vfio-pci core manages.
///
/// A driver's migration code uses it for the guest's way to the registers
/// ([`CoreDevice::guest_read`], [`CoreDevice::guest_write`]), the driver's own
/// ([`CoreDevice::registers`]) and DMA into the driver's own memory
/// ([`CoreDevice::with_private_dma`]).
///
/// The vfio-pci core has registers, configuration space and the user's container only while a user
/// has the device open. A driver's code gets the device at other times too: in
/// [`Operations::new`](super::Operations::new), and when debugfs asks what is left to save.
/// Whatever needs an open device then fails with `ENODEV`.
///
/// # Invariants
///
/// `raw` is the `struct vfio_pci_core_device` of a registered device, initialised by
/// `vfio_pci_core_init_dev()`; the other fields are initialised by [`CoreDevice::init`].
#[repr(C)]
pub struct CoreDevice {
    raw: Opaque<bindings::vfio_pci_core_device>,
    /// Messages about the device that its user can provoke.
    messages: Budget,
    /// Keeps the driver's own DMA and resets by others apart.
    passes: Passes,
    /// A user has the device open, see [`Host::is_open`].
    is_open: Atomic<bool>,
    /// What is known of the container's dirty pages.
    scope: Scope,
    /// Pins that last for a moment.
    pins: Pins,
    /// Resets of the function on behalf of its user.
    resets: Resets,
    /// Whether the device reaches its user's memory. Locked by whoever exchanges its domain: a pass
    /// of the driver, under the state lock, or an iommufd. An iommufd may take long to pin memory,
    /// and only passes wait for it.
    attachment: Mutex<Attachment>,
    /// The driver's way to the user's memory, if an iommufd has the device.
    access: MemoryAccess,
}

/// What the driver knows of the device's way to its user's memory.
#[derive(Default)]
pub(super) struct Attachment {
    /// The device was cut off from all memory, see [`super::PassError::Lost`], and must stay so
    /// until its user gives it up.
    pub(super) is_cut_off: bool,
}

// SAFETY: The vfio-pci core allows its functions to be called from any thread.
unsafe impl Send for CoreDevice {}

// SAFETY: The fields used here are constant while the device is open or guarded by its locks.
unsafe impl Sync for CoreDevice {}

impl CoreDevice {
    /// Borrows the device from its C structure.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `vfio_pci_core_device` at the start of a `Self` that [`Self::init`]
    /// has initialised and that stays valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::vfio_pci_core_device) -> &'a Self {
        // INVARIANT: The caller vouches for the structure.
        // SAFETY: The caller vouches for the pointer.
        unsafe { &*ptr.cast() }
    }

    /// Initialises all but the vfio-pci core's structure.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `vfio_pci_core_device` that `vfio_pci_core_init_dev()` has
    /// initialised, at the start of an allocation that holds a `Self`, was zeroed before that, and
    /// never moves. Nobody else may know it.
    pub(super) unsafe fn init(ptr: *mut bindings::vfio_pci_core_device) {
        let this = ptr.cast::<Self>();
        let attachment = Mutex::new(
            Attachment::default(),
            lock_name!("rvfio_attachment"),
            static_lock_class!(),
        );
        // Zeroes are valid for the other fields.
        // SAFETY: The caller vouches for the memory.
        unsafe {
            pin_init::raw_init(&raw mut (*this).messages, Budget::new());
            pin_init::raw_init(&raw mut (*this).attachment, attachment);
        }
    }

    /// Returns the C structure.
    pub(crate) fn as_raw(&self) -> *mut bindings::vfio_pci_core_device {
        self.raw.get()
    }

    /// Checks that a user has the device open: `ENODEV` if none has.
    #[inline]
    pub(super) fn check_open(&self) -> Result {
        match self.is_open() {
            true => Ok(()),
            false => Err(ENODEV),
        }
    }

    /// Returns what keeps the driver's own DMA and resets by others apart.
    pub(super) fn passes(&self) -> &Passes {
        &self.passes
    }

    /// Returns what is known of the container's dirty pages.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns what the driver knows of the way to the user's memory.
    pub(super) fn attachment(&self) -> &Mutex<Attachment> {
        &self.attachment
    }

    /// Returns the driver's way to the user's memory, if an iommufd has the device.
    pub(super) fn access(&self) -> &MemoryAccess {
        &self.access
    }

    /// Returns what pins the device's pages.
    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Returns what is known of resets of the function.
    pub(super) fn resets(&self) -> &Resets {
        &self.resets
    }

    /// Returns the PCI function's C structure.
    pub(crate) fn pdev(&self) -> *mut kernel::bindings::pci_dev {
        // SAFETY: By the type invariant; `pdev` is set once by `vfio_pci_core_init_dev()`.
        unsafe { (*self.as_raw()).pdev }
    }

    /// Returns the identity in the function's images: its own numbers, and the version of the
    /// driver's sections.
    pub fn identity(&self, state_major: u16, state_minor: u16) -> Identity {
        let pdev = self.pdev();
        // SAFETY: `pdev` is valid for the life of the device, the numbers never change.
        unsafe {
            Identity {
                vendor: (*pdev).vendor,
                device: (*pdev).device,
                subsystem_vendor: (*pdev).subsystem_vendor,
                subsystem_device: (*pdev).subsystem_device,
                revision: (*pdev).revision,
                state_major,
                state_minor,
            }
        }
    }

    /// Returns the bytes of the MSI-X table, none if the BAR does not have it.
    ///
    /// vfio-pci answers accesses to it: it drops writes, and reads are all ones.
    ///
    /// # Safety
    ///
    /// The device must be open.
    #[inline]
    pub(super) unsafe fn msix_table(&self, bar: u8) -> Range<u64> {
        // SAFETY: By the type invariant; the fields are constant while the device is open.
        let (table_bar, start, size) = unsafe {
            let raw = self.as_raw();
            ((*raw).msix_bar, (*raw).msix_offset, (*raw).msix_size)
        };
        if table_bar != bar {
            return 0..0;
        }
        let start = u64::from(start);
        start..start + u64::from(size)
    }

    /// Checks that the function answers the guest's memory accesses: `EIO` while it does not,
    /// `ENODEV` if no user has the device open.
    ///
    /// For a register whose value the driver makes up; [`CoreDevice::guest_read`] and
    /// [`CoreDevice::guest_write`] check by themselves.
    #[inline]
    pub fn check_decoding(&self) -> Result {
        self.check_open()?;
        if self.is_decoding() {
            return Ok(());
        }
        // It may be asleep.
        let _awake = self.wake()?;
        match self.is_decoding() {
            true => Ok(()),
            false => Err(EIO),
        }
    }

    /// Returns whether the function, which a user has open, answers the guest's memory accesses. A
    /// function that is asleep does not.
    #[inline]
    fn is_decoding(&self) -> bool {
        // Its lock, which would keep the answer true while the hardware is accessed, is not held
        // here.
        // SAFETY: By the type invariant. The vfio-pci core has a configuration space for the guest
        // while the device is open, as the caller has checked.
        unsafe { bindings::__vfio_pci_memory_enabled(self.as_raw()) }
    }

    /// Reads a register as the guest does: `EIO` while memory decoding is off, `ENODEV` if no user
    /// has the device open.
    pub fn guest_read(&self, access: Access) -> Result<u64> {
        let _awake = self.wake()?;
        self.read(access)
    }

    /// Writes a register as the guest does; errors as for [`CoreDevice::guest_read`].
    pub fn guest_write(&self, access: Access, value: u64) -> Result {
        let _awake = self.wake()?;
        self.write(access, value)
    }

    /// Returns the address of a register.
    ///
    /// `EINVAL` if the BAR does not have it, `ENODEV` or `EBUSY` if the BAR could not be mapped,
    /// `ENODEV` if no user has the device open.
    pub(super) fn io(&self, access: Access) -> Result<*mut c_void> {
        self.check_open()?;
        // CAST: The enum's values are the widths in bytes.
        let end = access
            .offset
            .checked_add(access.width as u64)
            .ok_or(EINVAL)?;
        if end > self.bar_len(access.bar) {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant; the mappings are constant while the device is open.
        let base = unsafe { (*self.as_raw()).barmap }
            .get(usize::from(access.bar))
            .copied()
            .ok_or(EINVAL)?;
        if base.is_null() {
            return Err(ENODEV);
        }
        let base = from_err_ptr(base)?;
        let offset = usize::try_from(access.offset)?;
        Ok(base.cast::<u8>().wrapping_add(offset).cast())
    }

    /// Reads a register; `EIO` while memory decoding is off.
    fn read(&self, access: Access) -> Result<u64> {
        let io = self.io(access)?;
        let test_mem = true;
        let vdev = self.as_raw();
        // SAFETY: By the type invariant, and `io` is the address of `access.width` bytes of a
        // mapped BAR.
        unsafe {
            match access.width {
                Width::B1 => {
                    let mut value = 0u8;
                    to_result(bindings::vfio_pci_core_ioread8(
                        vdev, test_mem, &mut value, io,
                    ))?;
                    Ok(value.into())
                }
                Width::B2 => {
                    let mut value = 0u16;
                    to_result(bindings::vfio_pci_core_ioread16(
                        vdev, test_mem, &mut value, io,
                    ))?;
                    Ok(value.into())
                }
                Width::B4 => {
                    let mut value = 0u32;
                    to_result(bindings::vfio_pci_core_ioread32(
                        vdev, test_mem, &mut value, io,
                    ))?;
                    Ok(value.into())
                }
                Width::B8 => {
                    let mut value = 0u64;
                    to_result(bindings::vfio_pci_core_ioread64(
                        vdev, test_mem, &mut value, io,
                    ))?;
                    Ok(value)
                }
            }
        }
    }

    /// Writes a register; `EIO` while memory decoding is off.
    fn write(&self, access: Access, value: u64) -> Result {
        let io = self.io(access)?;
        let test_mem = true;
        let vdev = self.as_raw();
        // CAST: A register takes the low bytes of the value, as many as it is wide.
        // SAFETY: By the type invariant, and `io` is the address of `access.width` bytes of a
        // mapped BAR.
        to_result(unsafe {
            match access.width {
                Width::B1 => bindings::vfio_pci_core_iowrite8(vdev, test_mem, value as u8, io),
                Width::B2 => bindings::vfio_pci_core_iowrite16(vdev, test_mem, value as u16, io),
                Width::B4 => bindings::vfio_pci_core_iowrite32(vdev, test_mem, value as u32, io),
                Width::B8 => bindings::vfio_pci_core_iowrite64(vdev, test_mem, value, io),
            }
        })
    }
}

impl AsRef<device::Device> for CoreDevice {
    fn as_ref(&self) -> &device::Device {
        // SAFETY: `pdev` is valid for the life of the device, and so is the device embedded in it.
        unsafe { device::Device::from_raw(&raw mut (*self.pdev()).dev) }
    }
}

impl Logs for CoreDevice {
    fn print(&self, level: Level, message: fmt::Arguments<'_>) {
        self.messages.print(AsRef::as_ref(self), level, message);
    }
}

// SAFETY: The structure begins with the `struct vfio_device`, as is asserted below.
unsafe impl Host for CoreDevice {
    fn as_ref(&self) -> &device::Device {
        AsRef::as_ref(self)
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Relaxed);
    }

    fn bar_len(&self, bar: u8) -> u64 {
        if bar >= BARS {
            return 0;
        }
        // As `pci_resource_len()`, without the call.
        // SAFETY: `pdev` is valid for the life of the device, and its resources do not change
        // while it has a driver.
        let Some(resource) = (unsafe { &(*self.pdev()).resource }).get(usize::from(bar)) else {
            return 0;
        };
        match resource.end {
            0 => 0,
            end => end.wrapping_sub(resource.start).wrapping_add(1),
        }
    }

    fn power_on(&self) {
        if let Ok(_awake) = self.wake() {
            // SAFETY: By the type invariant. `memory_lock` is not held: it comes after the locks
            // that the caller may have.
            let _ = unsafe { bindings::rvfio_power_on(self.as_raw()) };
        }
    }

    #[inline]
    fn limit_dirty_scope(&self, moment: Moment) {
        if !self.scope.is_settled() {
            self.find_page_to_pin(moment);
        }
    }

    fn is_time_to_tell(&self) -> bool {
        self.scope.may_tell()
    }

    fn tell_dirty_scope(&self) {
        self.tell_of_container();
    }

    fn dirty_scope(&self) -> DirtyScope {
        self.scope.get()
    }
}

const _: () = assert!(core::mem::offset_of!(bindings::vfio_pci_core_device, vdev) == 0);
const _: () = assert!(core::mem::offset_of!(CoreDevice, raw) == 0);
