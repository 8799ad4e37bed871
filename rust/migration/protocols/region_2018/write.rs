// SPDX-License-Identifier: GPL-2.0-only

//! Writing the region's header.

use kernel::prelude::*;

use super::{
    layout::{
        split,
        Access,
        Field,
        HALF_LEN, //
    },
    state::{
        action,
        Action,
        DeviceState, //
    },
    Half,
    Query,
    Region2018, //
};
use crate::{
    device::Device,
    engine::Engine,
    iova::{
        PageRange,
        PAGE_SIZE, //
    },
    protocols::window::{
        Progress,
        Side, //
    },
    state::State, //
};

/// A write whose values have all been checked.
#[derive(Default)]
struct Request {
    /// `device_state`, and the action that leads there.
    state: Option<(DeviceState, Action)>,
    /// `pending.threshold_size`.
    threshold: Option<u64>,
    /// `data.size`.
    size: Option<u64>,
    /// `dirty_pfns.start_addr`.
    start: Option<u64>,
    /// `dirty_pfns.total`, and the pages that it asks for.
    total: Option<(u64, PageRange)>,
}

impl Region2018 {
    /// Writes `bytes` to the fields of `access`.
    pub(super) fn write_access<D: Device>(
        &mut self,
        mut side: Side<'_, D>,
        access: Access,
        bytes: &[u8],
    ) -> Result<Progress> {
        let mut request = Request::default();
        let mut half = Half::None;
        match access {
            Access::Fields(fields) => {
                for (field, bytes) in split(fields, bytes) {
                    self.check(&side, &mut request, field, number(bytes)?)?;
                }
            }
            Access::Low(field) => {
                if !field.is_writable() {
                    return Err(EINVAL);
                }
                half = Half::Written(field, small(bytes)?);
            }
            Access::High(field) => {
                let low = match self.half {
                    Half::Written(begun, low) if begun == field => low,
                    _ => return Err(EINVAL),
                };
                let value = (u64::from(small(bytes)?) << 32) | u64::from(low);
                self.check(&side, &mut request, field, value)?;
            }
        }
        side.engine.admit(Self::PROTOCOL)?;
        let before = core::mem::replace(&mut self.half, half);
        let result = self.apply(&mut side, request);
        // The client repeats the access, which then needs the same first half.
        if !matches!(result, Ok(Progress::Done)) {
            self.half = before;
        }
        result
    }

    /// Takes `value` for `field` into `request`; `EINVAL` if it does not fit.
    fn check<D: Device>(
        &self,
        side: &Side<'_, D>,
        request: &mut Request,
        field: Field,
        value: u64,
    ) -> Result {
        let engine = &*side.engine;
        match field {
            Field::DeviceState => {
                let to = DeviceState::try_from(u32::try_from(value)?)?;
                // This protocol has no names for another one's states: `EBUSY`, as for the caller.
                engine.admit(Self::PROTOCOL)?;
                let action = action(self.view(engine)?, to)?;
                // The engine finds an incomplete load, and can tell why.
                if action == Action::CompleteSave
                    && engine.state() != State::Stop
                    && !self.is_handed_out(engine, side.host)
                {
                    return Err(EINVAL);
                }
                request.state = Some((to, action));
            }
            Field::ThresholdSize => request.threshold = Some(value),
            Field::DataOffset => {
                self.must_resume(engine)?;
                if value != side.window.offset() {
                    return Err(EINVAL);
                }
            }
            Field::DataSize => {
                self.must_resume(engine)?;
                if value > u64::try_from(side.window.len())? {
                    return Err(EINVAL);
                }
                request.size = Some(value);
            }
            Field::StartAddr => {
                if value % PAGE_SIZE != 0 {
                    return Err(EINVAL);
                }
                request.start = Some(value);
            }
            Field::Total => {
                let start = request.start.unwrap_or(self.start);
                engine.admit(Self::PROTOCOL)?;
                request.total = Some((value, self.ask(engine, start, value)?));
            }
            Field::PrecopyOnly | Field::Compatible | Field::PostcopyOnly | Field::Copied => {
                return Err(EINVAL);
            }
        }
        Ok(())
    }

    /// Returns `EINVAL` unless the device takes a state, `EBUSY` if another protocol owns it.
    fn must_resume<D: Device>(&self, engine: &Engine<D>) -> Result {
        engine.admit(Self::PROTOCOL)?;
        match self.view(engine)? {
            DeviceState::Resume => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Carries `request` out.
    fn apply<D: Device>(&mut self, side: &mut Side<'_, D>, request: Request) -> Result<Progress> {
        if let Some((to, action)) = request.state {
            self.done(side);
            self.enter(side, to, action)?;
        }
        // The load, which can still fail, comes before what cannot.
        if let Some(size) = request.size {
            if side.load(size)? == Progress::More {
                return Ok(Progress::More);
            }
            self.took(size);
        }
        if let Some(threshold) = request.threshold {
            self.threshold = threshold;
        }
        if let Some(start) = request.start {
            self.start = start;
        }
        if let Some((total, range)) = request.total {
            self.total = total;
            self.arm(side, range);
        }
        Ok(Progress::Done)
    }

    /// Moves the device to state `to` by `action`.
    fn enter<D: Device>(
        &mut self,
        side: &mut Side<'_, D>,
        to: DeviceState,
        action: Action,
    ) -> Result {
        let (engine, host) = (&mut *side.engine, side.host);
        let mut go = |state| engine.set_state(host, Self::PROTOCOL, state);
        match action {
            Action::Stop => go(State::Stop)?,
            // A save has begun, and the device has nothing to hand out while it runs.
            Action::Precopy if !D::STATES.pre_copy => {}
            Action::Precopy => go(State::PreCopy)?,
            Action::StopAndCopy => go(State::StopCopy)?,
            Action::CompleteSave | Action::CompleteResume => go(State::Stop)?,
            Action::Resume => {
                let before = engine.state();
                engine.set_state(host, Self::PROTOCOL, State::Resuming)?;
                if before != State::Resuming {
                    self.over(engine, host);
                }
            }
            Action::Run => {
                go(State::Running)?;
                self.over(engine, host);
            }
            Action::Setup if self.view(engine)? == DeviceState::Setup => {}
            Action::Setup => {
                engine.claim(Self::PROTOCOL)?;
                if let Err(error) = engine.dirty_start(host, Self::PROTOCOL) {
                    engine.release(Self::PROTOCOL);
                    return Err(error);
                }
            }
            Action::Discard => {
                engine.discard(host)?;
                self.follow(engine);
            }
        }
        self.state = match to {
            DeviceState::Failed | DeviceState::Cancelled => DeviceState::Running,
            to => to,
        };
        Ok(())
    }

    /// Ends tracking, since a migration is over or a load begins.
    fn over<D: Device>(&mut self, engine: &mut Engine<D>, host: &D::Host) {
        engine.dirty_stop(host, Self::PROTOCOL);
        self.query = Query::Idle;
        self.forget();
    }
}

/// Returns the little-endian number of 4 or 8 bytes.
fn number(bytes: &[u8]) -> Result<u64> {
    match bytes.len() {
        HALF_LEN => small(bytes).map(u64::from),
        _ => Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| EINVAL)?)),
    }
}

/// Returns the little-endian number of 4 bytes.
fn small(bytes: &[u8]) -> Result<u32> {
    Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| EINVAL)?))
}
