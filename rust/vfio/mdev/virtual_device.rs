// SPDX-License-Identifier: GPL-2.0-only

//! A virtual device as its driver sees it.

use kernel::{
    device,
    fmt,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex, //
    },
    types::Opaque, //
};
use migration::container::Container;

use super::{
    config_space::{
        ConfigSpace,
        COMMAND_INTX_DISABLE,
        COMMAND_MASTER,
        COMMAND_MEMORY, //
    },
    copies::Copies,
    function::Function,
    handle::{
        Handle,
        Handles, //
    },
    interrupts::{
        Data,
        Interrupts, //
    }, //
};
use crate::{
    bindings,
    compat,
    device::Host,
    log::{
        Budget,
        Level,
        Logs, //
    }, //
};

/// A virtual device: what makes it a PCI function to its user.
///
/// A driver's migration code uses it for the function's interrupt
/// ([`VirtualDevice::raise_interrupt`]) and the user's memory ([`VirtualDevice::read_memory`],
/// [`VirtualDevice::write_memory`]). All of it may be used from any thread that may sleep, with or
/// without the state lock.
///
/// Nobody can keep a reference to it. Code that works for the device in a thread of its own keeps a
/// [`Handle`], which [`VirtualDevice::handle`] returns.
///
/// # Invariants
///
/// `vdev` is a `struct vfio_device` that the VFIO core has allocated, at the start of the
/// allocation.
#[repr(C)]
pub struct VirtualDevice {
    vdev: Opaque<bindings::vfio_device>,
    parts: Parts,
}

// SAFETY: The VFIO core allows its functions to be called from any thread.
unsafe impl Send for VirtualDevice {}

// SAFETY: As above; the Rust part is synchronised.
unsafe impl Sync for VirtualDevice {}

/// The Rust part.
#[pin_data]
struct Parts {
    function: Function,
    /// Taken before `interrupts`.
    #[pin]
    config: Mutex<ConfigSpace>,
    /// A copy of the command register, to be read without the lock.
    command: Atomic<u32>,
    #[pin]
    interrupts: Mutex<Interrupts>,
    /// Copies of the user's memory.
    #[pin]
    copies: Copies,
    /// The way to this device for threads other than its callbacks.
    handles: Arc<Handles>,
    /// Messages about the device that its user can provoke.
    #[pin]
    messages: Budget,
}

impl VirtualDevice {
    /// Initialises all but the VFIO core's structure.
    ///
    /// # Safety
    ///
    /// `vdev` must be at the start of an allocation that is being initialised and holds a `Self`.
    pub(super) unsafe fn init(vdev: *mut bindings::vfio_device, function: Function) -> Result {
        let this = vdev.cast::<Self>();
        let parts = try_pin_init!(Parts {
            config <- new_mutex!(ConfigSpace::new(&function), "rvfio_config"),
            command: Atomic::new(0),
            interrupts <- new_mutex!(Interrupts::new(), "rvfio_interrupts"),
            copies <- Copies::new(),
            handles: Handles::new()?,
            messages <- Budget::new(),
            function,
        }? Error);
        // INVARIANT: The caller vouches for `vdev`.
        // SAFETY: `parts` is uninitialised memory of the allocation, which never moves.
        unsafe { compat::init_at(&raw mut (*this).parts, parts) }
    }

    /// Drops what [`Self::init`] has initialised.
    ///
    /// # Safety
    ///
    /// Nobody may use the device any more.
    pub(super) unsafe fn release(vdev: *mut bindings::vfio_device) {
        // SAFETY: `init` has initialised the part, and the caller vouches that it is not used.
        unsafe { core::ptr::drop_in_place(&raw mut (*vdev.cast::<Self>()).parts) };
    }

    /// Resets configuration space and interrupts to those of a device that nobody uses.
    pub(super) fn clear(&self) {
        *self.parts.config.lock() = ConfigSpace::new(&self.parts.function);
        self.parts.command.store(0, Relaxed);
        *self.parts.interrupts.lock() = Interrupts::new();
    }

    /// Reads the configuration space.
    pub(super) fn config_read(&self, offset: usize, out: &mut [u8]) {
        let config = self.parts.config.lock();
        let asserted = self.parts.interrupts.lock().is_asserted();
        config.read(offset, asserted, out);
    }

    /// Writes the configuration space.
    pub(super) fn config_write(&self, offset: usize, data: &[u8]) {
        let mut config = self.parts.config.lock();
        config.write(offset, data);
        let command = config.command();
        self.parts.command.store(command.into(), Relaxed);
        self.parts
            .interrupts
            .lock()
            .disable_intx(command & COMMAND_INTX_DISABLE != 0);
    }

    /// Does what `VFIO_DEVICE_SET_IRQS` asks, see [`Interrupts::set`].
    pub(super) fn set_interrupts(&self, index: u32, action: u32, count: u32, data: Data) -> Result {
        self.parts.interrupts.lock().set(index, action, count, data)
    }

    /// Asks the user to give the device up.
    pub(super) fn request(&self) {
        self.parts.interrupts.lock().request();
    }

    /// Waits for those whom a [`Handle`] has led to the device, which is closed.
    ///
    /// Calls off a copy of the user's memory, which may wait for ever.
    pub(super) fn wait_for_handles(&self) {
        self.parts.copies.call_off();
        self.parts.handles.wait();
        self.parts.copies.allow();
    }

    /// Returns the copies of the user's memory.
    pub(super) fn copies(&self) -> &Copies {
        &self.parts.copies
    }

    /// Returns a handle, which leads to the device until its user closes it.
    pub fn handle(&self) -> Handle {
        Handles::handle(&self.parts.handles)
    }

    /// Returns the PCI function that the device is.
    pub fn function(&self) -> Function {
        self.parts.function
    }

    /// Returns whether the guest lets the function answer to memory accesses.
    #[inline]
    pub fn is_memory_enabled(&self) -> bool {
        self.has_command(COMMAND_MEMORY)
    }

    /// Returns whether the guest lets the function start DMA.
    pub fn is_master(&self) -> bool {
        self.has_command(COMMAND_MASTER)
    }

    /// Returns whether a bit of the command register is set.
    #[inline]
    fn has_command(&self, bit: u16) -> bool {
        self.parts.command.load(Relaxed) & u32::from(bit) != 0
    }

    /// Raises the interrupt: asserts INTx or sends a message, whichever is set up.
    pub fn raise_interrupt(&self) {
        self.parts.interrupts.lock().raise();
    }

    /// Deasserts INTx.
    pub fn lower_interrupt(&self) {
        self.parts.interrupts.lock().lower();
    }
}

/// The container learns of what is written from [`VirtualDevice::write_memory`].
impl Container for VirtualDevice {}

// SAFETY: The structure begins with the `struct vfio_device`.
unsafe impl Host for VirtualDevice {
    fn as_ref(&self) -> &device::Device {
        // SAFETY: By the type invariant; `dev` is the mediated device's, which exists until its
        // driver's `remove` has returned. The VFIO device is not used after that: nobody has a
        // reference to it outside of its driver's callbacks, and closing waits for those whom a
        // handle leads to it.
        unsafe { device::Device::from_raw((*self.vdev.get()).dev) }
    }

    fn is_open(&self) -> bool {
        self.parts.handles.is_open()
    }

    fn set_open(&self, is_open: bool) {
        match is_open {
            // SAFETY: The device is being opened. It is closed by this function and then
            // `wait_for_handles` before the VFIO core parts it from its container.
            true => unsafe { self.parts.handles.open(self) },
            false => self.parts.handles.close(),
        }
    }

    fn bar_len(&self, bar: u8) -> u64 {
        match bar {
            0 => self.parts.function.bar_size.into(),
            _ => 0,
        }
    }
}

impl Logs for VirtualDevice {
    fn print(&self, level: Level, message: fmt::Arguments<'_>) {
        self.parts.messages.print(self.as_ref(), level, message);
    }
}
