// SPDX-License-Identifier: GPL-2.0-only

//! Making the device a fresh one, for whatever cause.

use kernel::prelude::*;

use super::{
    Engine,
    Mode, //
};
use crate::{
    device::Device,
    image::Buffer, //
};

/// Why the device is reset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A user opens the device.
    Open,
    /// The user closes the device.
    Close,
    /// The user asks for it.
    User,
    /// An image is about to be loaded, was refused, or is given up.
    Load,
    /// Others have reset the hardware.
    Others,
}

/// What happened to the hardware before the device's own reset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct HardwareReset {
    /// The hardware was reset, or may have been: its state is lost.
    pub done: bool,
    /// On an error, the device's own reset does not follow.
    pub result: Result,
}

impl HardwareReset {
    /// Nothing happened: the device's own reset is enough.
    pub const NONE: Self = Self {
        done: false,
        result: Ok(()),
    };

    /// The hardware was reset.
    pub const DONE: Self = Self {
        done: true,
        result: Ok(()),
    };

    /// The hardware cannot be reset, and nothing happened.
    pub const fn failed(error: Error) -> Self {
        Self {
            done: false,
            result: Err(error),
        }
    }
}

/// Resets the hardware of a device, if that is needed for the cause.
pub type ResetHardware<D> = fn(&<D as Device>::Host, Cause) -> HardwareReset;

impl<D: Device> Engine<D> {
    /// Makes the device ready for a user who opens it; see [`Device::open`] and [`Engine::reset`].
    ///
    /// `ENOMEM` if there is no memory for an image; errors of the device.
    pub fn open(&mut self, host: &D::Host) -> Result {
        self.reserve()?;
        let opened = self
            .device
            .open(host)
            .and_then(|()| self.reset_for(host, Cause::Open));
        if opened.is_err() {
            self.buffer = None;
        }
        opened
    }

    /// Makes the device like a fresh one, running, whatever state it is in.
    ///
    /// The image under way is dropped, tracking ends, no protocol owns the device. If the reset
    /// fails, its error is returned and the state does not change, or becomes [`State::Error`] if
    /// the device is lost or its hardware was reset.
    ///
    /// [`State::Error`]: crate::state::State::Error
    pub fn reset(&mut self, host: &D::Host) -> Result {
        self.reset_for(host, Cause::User)
    }

    /// Does as [`Self::reset`], for a client that gives up a load.
    pub(crate) fn discard(&mut self, host: &D::Host) -> Result {
        self.reset_for(host, Cause::Load)
    }

    /// Catches up after others have reset the device: makes it a fresh one and ends the session.
    ///
    /// If the device's own reset fails, its error is returned and the device is in
    /// [`State::Error`]: nothing is known of it until a reset succeeds.
    ///
    /// [`State::Error`]: crate::state::State::Error
    pub fn reset_by_others(&mut self, host: &D::Host) -> Result {
        self.reset_or_fail(host, Cause::Others)
    }

    /// Leaves nothing of the user who closes the device to the next one.
    ///
    /// Does as [`Self::reset_by_others`] and frees the memory; the next open resets the device
    /// again.
    pub fn close(&mut self, host: &D::Host) -> Result {
        // Nobody asks any more.
        self.log.stop();
        self.log.tell_end();
        self.tracks = false;
        let result = self.reset_or_fail(host, Cause::Close);
        self.buffer = None;
        result
    }

    /// Resets the device and ends the session, even if the reset fails.
    fn reset_or_fail(&mut self, host: &D::Host, cause: Cause) -> Result {
        self.reset_for(host, cause)
            .inspect_err(|_| self.start_afresh(Mode::Error))
    }

    /// Resets the device and ends the session.
    fn reset_for(&mut self, host: &D::Host, cause: Cause) -> Result {
        let reset = self.reset_device(host, cause);
        if reset.is_ok() {
            self.start_afresh(Mode::Running);
        }
        self.track_again(host);
        reset
    }

    /// Resets the hardware and the device. On an error the device is in its error state if its
    /// hardware was reset.
    pub(super) fn reset_device(&mut self, host: &D::Host, cause: Cause) -> Result {
        let stopped = self.settle_before_reset(host);
        let hardware = (self.reset_hardware)(host, cause);
        let result = hardware.result.and_then(|()| {
            self.tracks = false;
            self.device.reset(host)
        });
        if result.is_err() && hardware.done {
            self.tracks = false;
            self.enter(Mode::Error);
        } else if result.is_err() && stopped && !self.device.lost() {
            // It goes on as before, if it can.
            let _ = self.device.resume(host);
        }
        self.check(result)
    }

    /// Forgets the migration under way.
    fn start_afresh(&mut self, mode: Mode) {
        self.enter(mode);
        self.quiesced = false;
        self.owner = None;
        self.log.stop();
        self.tracker = None;
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Takes memory for an image unless it is there already; `ENOMEM` if there is not enough.
    pub(super) fn reserve(&mut self) -> Result {
        if self.buffer.is_none() {
            self.buffer = Some(Buffer::new()?);
        }
        Ok(())
    }
}
