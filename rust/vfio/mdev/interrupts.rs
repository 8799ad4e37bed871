// SPDX-License-Identifier: GPL-2.0-only

//! Interrupts of a virtual device: INTx or one MSI vector, and the request to give it up.
//!
//! `VFIO_DEVICE_SET_IRQS` does here what it does for vfio-pci, with one exception: INTx cannot be
//! unmasked by an eventfd (`ENOTTY`), so a hypervisor unmasks it itself.

use kernel::prelude::*;

use super::eventfd::EventFd;
use crate::bindings::{
    VFIO_IRQ_INFO_AUTOMASKED,
    VFIO_IRQ_INFO_EVENTFD,
    VFIO_IRQ_INFO_MASKABLE,
    VFIO_IRQ_INFO_NORESIZE,
    VFIO_IRQ_SET_ACTION_MASK,
    VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_BOOL,
    VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_INTX_IRQ_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_MSI_IRQ_INDEX,
    VFIO_PCI_REQ_IRQ_INDEX, //
};

/// How the device's interrupts reach the user.
enum Mode {
    /// They do not.
    None,
    /// As INTx: each interrupt masks it until the user unmasks it.
    Intx {
        trigger: Option<EventFd>,
        masked: bool,
    },
    /// As MSI: each is an event.
    Msi { trigger: Option<EventFd> },
}

/// The data of a `VFIO_DEVICE_SET_IRQS`.
#[derive(Clone, Copy)]
pub(super) enum Data {
    /// Nothing.
    None,
    /// Whether to act.
    Bool(bool),
    /// A file descriptor, negative for none.
    EventFd(i32),
    /// The call is for no interrupt, and does not say so by [`Data::None`].
    Empty,
}

impl Data {
    /// Decodes the data of the only interrupt that an index has.
    pub(super) fn new(flags: u32, count: u32, bytes: [u8; 4]) -> Self {
        if flags & VFIO_IRQ_SET_DATA_NONE != 0 {
            Self::None
        } else if count == 0 {
            Self::Empty
        } else if flags & VFIO_IRQ_SET_DATA_BOOL != 0 {
            let [first, ..] = bytes;
            Self::Bool(first != 0)
        } else if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            Self::EventFd(i32::from_ne_bytes(bytes))
        } else {
            Self::Empty
        }
    }
}

/// Gets the eventfd of a descriptor; none if it is negative.
fn eventfd(fd: i32) -> Result<Option<EventFd>> {
    (fd >= 0).then(|| EventFd::new(fd)).transpose()
}

/// Returns flags and number of interrupts of an index; `EINVAL` if there is no such index.
pub(super) fn info(index: u32) -> Result<(u32, u32)> {
    match index {
        VFIO_PCI_INTX_IRQ_INDEX => Ok((
            VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
            1,
        )),
        VFIO_PCI_MSI_IRQ_INDEX => Ok((VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE, 1)),
        VFIO_PCI_MSIX_IRQ_INDEX => Ok((VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE, 0)),
        VFIO_PCI_REQ_IRQ_INDEX => Ok((VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE, 1)),
        _ => Err(EINVAL),
    }
}

/// The interrupts of one virtual device.
pub(super) struct Interrupts {
    mode: Mode,
    /// The device asserts INTx, even if nobody listens.
    asserted: bool,
    /// The guest has switched INTx off in the command register.
    intx_disabled: bool,
    /// Signalled to ask the user to give the device up.
    request: Option<EventFd>,
}

impl Interrupts {
    /// Returns the interrupts of a device to which nobody listens.
    pub(super) fn new() -> Self {
        Self {
            mode: Mode::None,
            asserted: false,
            intx_disabled: false,
            request: None,
        }
    }

    /// Returns whether the device asserts INTx.
    pub(super) fn is_asserted(&self) -> bool {
        self.asserted
    }

    /// Raises an interrupt: asserts INTx, or sends a message.
    pub(super) fn raise(&mut self) {
        if let Mode::Msi { trigger } = &self.mode {
            signal(trigger);
        } else {
            self.asserted = true;
            self.follow_level();
        }
    }

    /// Deasserts INTx.
    pub(super) fn lower(&mut self) {
        self.asserted = false;
    }

    /// Follows the guest's command register, which switches INTx off, or on again.
    pub(super) fn disable_intx(&mut self, disabled: bool) {
        if self.intx_disabled == disabled {
            return;
        }
        self.intx_disabled = disabled;
        if let Mode::Intx { masked, .. } = &mut self.mode {
            *masked = disabled;
        }
        self.follow_level();
    }

    /// Asks the user to give the device up.
    pub(super) fn request(&self) {
        signal(&self.request);
    }

    /// Signals INTx, and masks it, if it is asserted and not masked.
    fn follow_level(&mut self) {
        if let Mode::Intx { trigger, masked } = &mut self.mode {
            if self.asserted && !*masked && !self.intx_disabled {
                *masked = true;
                signal(trigger);
            }
        }
    }

    /// Does what `VFIO_DEVICE_SET_IRQS` asks of an index.
    ///
    /// `EINVAL` if that does not fit the index or the present mode, `ENOTTY` for what is not
    /// offered, errors of the eventfd. After an error nothing has changed.
    pub(super) fn set(&mut self, index: u32, action: u32, count: u32, data: Data) -> Result {
        match (index, action) {
            (VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_MASK) => self.mask(true, count, data),
            (VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK) => self.mask(false, count, data),
            (VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER) => {
                self.trigger_intx(count, data)
            }
            (VFIO_PCI_MSI_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER) => self.trigger_msi(count, data),
            (VFIO_PCI_REQ_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER) => {
                self.trigger_request(count, data)
            }
            _ => Err(ENOTTY),
        }
    }

    /// Masks or unmasks INTx.
    fn mask(&mut self, mask: bool, count: u32, data: Data) -> Result {
        let Mode::Intx { masked, .. } = &mut self.mode else {
            return Err(EINVAL);
        };
        match data {
            _ if count != 1 => return Err(EINVAL),
            Data::None | Data::Bool(true) => *masked = mask,
            Data::Bool(false) | Data::Empty => {}
            Data::EventFd(_) => return Err(ENOTTY),
        }
        self.follow_level();
        Ok(())
    }

    /// Switches INTx on or off, gives it another eventfd, or signals it.
    fn trigger_intx(&mut self, count: u32, data: Data) -> Result {
        match (&mut self.mode, data) {
            (Mode::Intx { .. }, Data::None) if count == 0 => self.mode = Mode::None,
            (Mode::Msi { .. }, _) => return Err(EINVAL),
            _ if count != 1 => return Err(EINVAL),
            (Mode::Intx { trigger, .. }, Data::EventFd(fd)) => *trigger = eventfd(fd)?,
            (Mode::None, Data::EventFd(fd)) => {
                self.mode = Mode::Intx {
                    trigger: eventfd(fd)?,
                    masked: self.intx_disabled,
                };
                self.follow_level();
            }
            (Mode::Intx { trigger, .. }, Data::None | Data::Bool(true)) => signal(trigger),
            (Mode::Intx { .. }, _) => {}
            (Mode::None, _) => return Err(EINVAL),
        }
        Ok(())
    }

    /// Switches MSI on or off, gives it another eventfd, or signals it.
    fn trigger_msi(&mut self, count: u32, data: Data) -> Result {
        match (&mut self.mode, data) {
            (Mode::Msi { .. }, Data::None) if count == 0 => self.mode = Mode::None,
            (Mode::Intx { .. }, _) => return Err(EINVAL),
            (Mode::Msi { trigger }, Data::EventFd(fd)) => *trigger = eventfd(fd)?,
            (Mode::None, Data::EventFd(fd)) => {
                self.mode = Mode::Msi {
                    trigger: eventfd(fd)?,
                };
            }
            (Mode::Msi { trigger }, Data::None | Data::Bool(true)) => signal(trigger),
            (Mode::Msi { .. }, _) => {}
            (Mode::None, _) => return Err(EINVAL),
        }
        Ok(())
    }

    /// Sets or signals the eventfd by which the user is asked to give the device up.
    fn trigger_request(&mut self, count: u32, data: Data) -> Result {
        match (data, &self.request) {
            (Data::EventFd(fd), _) => self.request = eventfd(fd)?,
            (Data::Empty, _) | (Data::None | Data::Bool(_), None) => return Err(EINVAL),
            (Data::None, Some(_)) if count == 0 => self.request = None,
            (Data::None | Data::Bool(true), Some(request)) => request.signal(),
            (Data::Bool(false), Some(_)) => {}
        }
        Ok(())
    }
}

/// Signals an eventfd, if there is one.
fn signal(eventfd: &Option<EventFd>) {
    if let Some(eventfd) = eventfd {
        eventfd.signal();
    }
}
