// SPDX-License-Identifier: GPL-2.0-only

//! Front end of the v2 protocol: migration features and a data file descriptor.
//!
//! Contract: `enum vfio_device_mig_state` and what follows it in
//! [`include/uapi/linux/vfio.h`](srctree/include/uapi/linux/vfio.h). The protocol's states are the
//! engine's own, so all that is left to translate are the calls on the data file. A file belongs to
//! one session, one image; it has ended for good when the engine is in another.

use kernel::prelude::*;

use crate::{
    device::Device,
    engine::{
        Engine,
        Protocol, //
    },
    state::State, //
};

/// The protocol of this front end.
const PROTOCOL: Protocol = Protocol::V2;

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

/// Estimates for `VFIO_MIG_GET_PRECOPY_INFO`, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PrecopyInfo {
    /// What was there when the image began and did not go yet: it should go before the device is
    /// stopped. Reaches 0 however much the device changes meanwhile, and stays there.
    pub initial_bytes: u64,
    /// All else that can go: what has changed since.
    pub dirty_bytes: u64,
}

/// Moves the device to `target`; see [`Engine::set_state`].
pub fn set_state<D: Device>(engine: &mut Engine<D>, host: &D::Host, target: State) -> Result {
    engine.set_state(host, PROTOCOL, target)
}

/// Returns `ENODEV` unless `session` is this protocol's and goes on.
fn admit<D: Device>(engine: &Engine<D>, session: u64) -> Result {
    if engine.session() == Some(session) && engine.owner() == Some(PROTOCOL) {
        Ok(())
    } else {
        Err(ENODEV)
    }
}

/// Looks for the next bytes of the image of `session`, and returns them until they are consumed.
///
/// `ENODEV` when the session has ended, or errors of the device.
pub fn stage<'a, D: Device>(
    engine: &'a mut Engine<D>,
    host: &D::Host,
    session: u64,
) -> Result<Found<'a>> {
    admit(engine, session)?;
    let stopped = engine.state() == State::StopCopy;
    let bytes = engine.stage(host)?;
    Ok(match bytes.is_empty() {
        false => Found::Bytes(bytes),
        true if stopped => Found::End,
        true => Found::NothingNow,
    })
}

/// Says that the first `count` of the bytes that [`stage`] returned went out.
///
/// `ENODEV` when the session has ended meanwhile.
pub fn consume<D: Device>(
    engine: &mut Engine<D>,
    host: &D::Host,
    session: u64,
    count: usize,
) -> Result {
    admit(engine, session)?;
    engine.consume(host, count);
    Ok(())
}

/// Takes the next bytes of an image, up to the end of a section, and returns how many.
///
/// Errors as [`Engine::write`]; `ENODEV` when the session has ended.
pub fn write<D: Device>(
    engine: &mut Engine<D>,
    host: &D::Host,
    session: u64,
    bytes: &[u8],
) -> Result<usize> {
    admit(engine, session)?;
    Ok(engine.write(host, bytes)?.bytes)
}

/// Whether the data file can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// A read finds bytes, the end or an error.
    Now,
    /// A read finds nothing now, `ENOMSG`. The device is at work on what comes next; nobody tells
    /// when it has ended, so one has to look again.
    Later,
    /// A read finds nothing now, `ENOMSG`, until the guest or the client does something.
    Nothing,
}

/// Returns whether a read of the data file finds something, as [`stage`] would.
pub fn readiness<D: Device>(engine: &Engine<D>, host: &D::Host, session: u64) -> Readiness {
    if admit(engine, session).is_err() || engine.state() == State::StopCopy {
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
/// There is never new initial data, so `VFIO_PRECOPY_INFO_REINIT` is not for this protocol's flags.
/// `EINVAL` outside of the pre-copy states, as the uAPI wants it for any other state; `ENODEV` when
/// the session has ended and the pre-copy is another's.
pub fn precopy_info<D: Device>(
    engine: &mut Engine<D>,
    host: &D::Host,
    session: u64,
) -> Result<PrecopyInfo> {
    if !matches!(engine.state(), State::PreCopy | State::PreCopyP2p) {
        return Err(EINVAL);
    }
    admit(engine, session)?;
    let available = engine.pending(host).available;
    let initial_bytes = engine.initial(host).min(available);
    Ok(PrecopyInfo {
        initial_bytes,
        dirty_bytes: available - initial_bytes,
    })
}
