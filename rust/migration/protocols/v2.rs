// SPDX-License-Identifier: GPL-2.0-only

//! Front end of the v2 protocol: migration features, a data file descriptor and DMA logging.
//!
//! Contract: `enum vfio_device_mig_state` and what follows it in
//! [`include/uapi/linux/vfio.h`](srctree/include/uapi/linux/vfio.h). The protocol's states are the
//! engine's own. A data file belongs to one session, which is one image: as soon as the engine is
//! in another session or in none, the file has ended for good.

use kernel::prelude::*;

use crate::{
    device::Device,
    engine::{
        Engine,
        Protocol, //
    },
    iova::IovaRange,
    state::State, //
};

/// What a read of the data file finds.
#[derive(Debug, Eq, PartialEq)]
pub enum Found<'a> {
    /// The next bytes of the image, at least one.
    Bytes(&'a [u8]),
    /// Nothing now, but more may come: `ENOMSG`.
    NothingNow,
    /// The end of the image.
    End,
}

/// Whether the data file can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// A read finds bytes, the end or an error.
    Now,
    /// A read finds nothing now, `ENOMSG`. The device is at work on what comes next and does not
    /// tell when it has finished, so the caller has to look again.
    Later,
    /// A read finds nothing now, `ENOMSG`, until the guest or the client does something.
    Nothing,
}

/// Estimates for `VFIO_MIG_GET_PRECOPY_INFO`, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PrecopyInfo {
    /// Bytes that were there when the image began and have not gone out: they should go before the
    /// device is stopped. Reaches 0 however much the device changes meanwhile, and stays there.
    pub initial_bytes: u64,
    /// All other bytes that can go: what has changed since.
    pub dirty_bytes: u64,
}

/// What the protocol remembers between two calls.
#[derive(Debug)]
pub struct V2 {
    /// The engine's session that `initial` belongs to.
    session: Option<u64>,
    /// Bytes that could go when the session's image began and have not gone out.
    ///
    /// The number only ever goes down: by what goes out, and to what can go now. What the device
    /// has worked on since counts as changed.
    initial: u64,
}

impl Default for V2 {
    fn default() -> Self {
        Self::new()
    }
}

impl V2 {
    /// The protocol of this front end.
    const PROTOCOL: Protocol = Protocol::V2;

    /// Returns the front end of an engine that no one migrates.
    pub const fn new() -> Self {
        Self {
            session: None,
            initial: 0,
        }
    }

    /// Moves the device to `target`; see [`Engine::set_state`].
    pub fn set_state<D: Device>(
        &mut self,
        engine: &mut Engine<D>,
        host: &D::Host,
        target: State,
    ) -> Result {
        engine.set_state(host, Self::PROTOCOL, target)?;
        if self.session != engine.session() {
            self.session = engine.session();
            self.initial = engine.pending(host).available;
        }
        Ok(())
    }

    /// Returns about how many bytes the client has to move to save the device:
    /// `VFIO_DEVICE_FEATURE_MIG_DATA_SIZE`.
    ///
    /// While an image is being produced that is what is left of it, otherwise a whole image. Never
    /// 0.
    pub fn data_size<D: Device>(&self, engine: &Engine<D>, host: &D::Host) -> u64 {
        if engine.state().is_saving() {
            engine.pending(host).total().max(1)
        } else {
            engine.size(host)
        }
    }

    /// Stages the next bytes of the image of `session`, and returns them until they are consumed.
    ///
    /// `ENODEV` if the session has ended, or errors of the device.
    pub fn stage<'a, D: Device>(
        &mut self,
        engine: &'a mut Engine<D>,
        host: &D::Host,
        session: u64,
    ) -> Result<Found<'a>> {
        Self::admit(engine, session)?;
        let stopped = engine.state() == State::StopCopy;
        let bytes = engine.stage(host)?;
        Ok(match bytes.is_empty() {
            false => Found::Bytes(bytes),
            true if stopped => Found::End,
            true => {
                self.initial = 0;
                Found::NothingNow
            }
        })
    }

    /// Notes that the first `count` of the bytes that [`Self::stage`] returned went out.
    ///
    /// `ENODEV` if the session has ended meanwhile.
    pub fn consume<D: Device>(
        &mut self,
        engine: &mut Engine<D>,
        host: &D::Host,
        session: u64,
        count: usize,
    ) -> Result {
        Self::admit(engine, session)?;
        engine.consume(count);
        // CAST: a section's length.
        self.initial = self.initial.saturating_sub(count as u64);
        if self.initial != 0 {
            self.initial = self.initial.min(engine.pending(host).available);
        }
        Ok(())
    }

    /// Takes the next bytes of an image, up to the end of a section, and returns how many.
    ///
    /// Errors as [`Engine::write`]; `ENODEV` if the session has ended.
    pub fn write<D: Device>(
        &mut self,
        engine: &mut Engine<D>,
        host: &D::Host,
        session: u64,
        bytes: &[u8],
    ) -> Result<usize> {
        Self::admit(engine, session)?;
        Ok(engine.write(host, bytes)?.bytes)
    }

    /// Returns whether a read of the data file finds something, as [`Self::stage`] would.
    pub fn readiness<D: Device>(
        &self,
        engine: &Engine<D>,
        host: &D::Host,
        session: u64,
    ) -> Readiness {
        if Self::admit(engine, session).is_err() || engine.state() == State::StopCopy {
            return Readiness::Now;
        }
        let pending = engine.pending(host);
        match (pending.available, pending.precopy_only) {
            (1.., _) => Readiness::Now,
            (0, 1..) => Readiness::Later,
            (0, 0) => Readiness::Nothing,
        }
    }

    /// Returns what can go now, while the device runs: nothing if a read finds nothing.
    ///
    /// New initial data never appears, so this protocol never sets `VFIO_PRECOPY_INFO_REINIT`.
    /// `EINVAL` outside of the pre-copy states, as the uAPI demands; `ENODEV` if the session has
    /// ended and the pre-copy is another one's.
    pub fn precopy_info<D: Device>(
        &mut self,
        engine: &Engine<D>,
        host: &D::Host,
        session: u64,
    ) -> Result<PrecopyInfo> {
        if !matches!(engine.state(), State::PreCopy | State::PreCopyP2p) {
            return Err(EINVAL);
        }
        Self::admit(engine, session)?;
        let available = engine.pending(host).available;
        self.initial = self.initial.min(available);
        Ok(PrecopyInfo {
            initial_bytes: self.initial,
            dirty_bytes: available - self.initial,
        })
    }

    /// Starts DMA logging; see [`Engine::dirty_start`].
    ///
    /// `EBUSY` if tracking is on, for whichever protocol.
    pub fn log_start<D: Device>(&mut self, engine: &mut Engine<D>, host: &D::Host) -> Result {
        if engine.dirty_tracker().is_some() {
            return Err(EBUSY);
        }
        engine.dirty_start(host, Self::PROTOCOL)
    }

    /// Stops DMA logging; does nothing if it is off.
    pub fn log_stop<D: Device>(&mut self, engine: &mut Engine<D>, host: &D::Host) {
        engine.dirty_stop(host, Self::PROTOCOL);
    }

    /// Has `report` report what was written in `range`, and forgets it; see
    /// [`Engine::dirty_report`].
    ///
    /// `EINVAL` if logging is off.
    pub fn log_report<D: Device>(
        &mut self,
        engine: &mut Engine<D>,
        host: &D::Host,
        range: IovaRange,
        report: impl FnMut(IovaRange) -> Result,
    ) -> Result<bool> {
        if engine.dirty_tracker() != Some(Self::PROTOCOL) {
            return Err(EINVAL);
        }
        engine.dirty_report(host, range, report)
    }

    /// Returns `ENODEV` unless `session` is this protocol's and goes on.
    fn admit<D: Device>(engine: &Engine<D>, session: u64) -> Result {
        if engine.session() == Some(session) && engine.owner() == Some(Self::PROTOCOL) {
            Ok(())
        } else {
            Err(ENODEV)
        }
    }
}
