// SPDX-License-Identifier: GPL-2.0-only

//! A side with what is known of it, and the rules that hold after each step.

use kernel::{
    alloc,
    error::{code::*, Result},
};
use migration::{
    engine::{Engine, Protocol},
    protocols::{
        region_2018::layout::Field,
        v2::{Found, Readiness},
        MigrationRegion,
    },
    state::{next, State},
};

use super::{
    image, source,
    step::{Session, Step},
    CHUNK, MEMORY, WINDOW,
};
use crate::common::{register, write_all, Fake, Host, Side, DATA_OFFSET, DMA, OPS};

/// Offsets and widths of the v1 region's fields.
const FIELDS_V1: [(usize, usize); 5] = [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8)];

/// Bit of a fault that makes the fault a signal.
const INTERRUPT: u8 = 1 << 6;

/// The migration under way: state, owner, session and epoch.
type Migration = (State, Option<Protocol>, Option<u64>, u64);

/// The bytes that went out in one session.
struct Saved {
    session: u64,
    image: Vec<u8>,
    /// The model saw all of them, in their order.
    whole: bool,
}

/// A side and what is known of it.
pub(super) struct Model {
    side: Side,
    saved: Saved,
    /// Bytes of the image that were given in the session under way.
    given: (Option<u64>, usize),
    /// The last session whose `initial_bytes` was asked for, and the number.
    initial: (u64, u64),
    /// No fault has been injected yet.
    healthy: bool,
    /// The highest session seen.
    sessions: u64,
}

impl Model {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            saved: Saved {
                session: 0,
                image: Vec::new(),
                whole: false,
            },
            given: (None, 0),
            initial: (0, 0),
            healthy: true,
            sessions: 0,
        }
    }

    /// Takes a step and checks its effects.
    pub(super) fn take(&mut self, step: Step) {
        let before = self.migration();
        let tracker = self.engine().dirty_tracker();
        self.apply(step);
        let after = self.migration();

        if let Some(protocol) = protocol(step) {
            if before.1.is_some_and(|owner| owner != protocol) && !self.lost() {
                assert_eq!(before, after, "{step:?} disturbs another protocol");
            }
            if tracker.is_some_and(|tracker| tracker != protocol) {
                let epoch = before.3 != after.3;
                assert!(
                    epoch || self.engine().dirty_tracker() == tracker,
                    "{step:?}"
                );
            }
        }
        assert!(after.3 >= before.3);
        self.invariants(step);
    }

    /// Checks that a reset without faults makes the device a fresh one, whatever happened before.
    pub(super) fn end(mut self) {
        self.side.host.fail.set(None);
        self.side.host.lose.set(false);
        self.side.device().lost = false;
        let Side { object, host, .. } = &mut self.side;
        assert_eq!(object.engine_mut().open(host), Ok(()));
        let engine = object.engine();
        assert_eq!((engine.state(), engine.owner()), (State::Running, None));
        assert_eq!((engine.session(), engine.dirty_tracker()), (None, None));
        assert_eq!(
            engine.device().contents(),
            Fake::new(MEMORY, CHUNK).contents()
        );
        assert_eq!(self.side.state(), 1);
    }

    fn engine(&self) -> &Engine<Fake> {
        self.side.object.engine()
    }

    fn lost(&self) -> bool {
        self.engine().device().lost
    }

    fn migration(&self) -> Migration {
        let engine = self.engine();
        (
            engine.state(),
            engine.owner(),
            engine.session(),
            engine.epoch(),
        )
    }

    /// Checks what must hold at any time.
    fn invariants(&mut self, step: Step) {
        let (state, owner, session, _) = self.migration();
        let (v2, engine) = self.side.object.v2();
        match state {
            State::Running | State::Error => {}
            _ => assert!(owner.is_some(), "{step:?}: {state} has an owner"),
        }
        let moving = state.is_saving() || state == State::Resuming;
        assert_eq!(session.is_some(), moving, "{step:?}: {state}");
        if let Some(session) = session {
            assert!(session >= self.sessions, "{step:?}");
            self.sessions = session;
        }
        assert_eq!(
            engine.dirty_tracker().is_some(),
            engine.log().table().is_ok()
        );
        assert!(!engine.is_loaded() || state == State::Resuming);
        assert!(!engine.is_saved() || state.is_saving());
        assert!(v2.data_size(engine, &self.side.host) > 0);
        let pending = engine.pending(&self.side.host);
        assert!(state.is_saving() || pending.total() == 0);
        let status = engine.status();
        assert_eq!((status.state, status.owner), (state, owner));
        assert_eq!(status.counters, engine.counters());

        let running = engine.device().running;
        let runs = matches!(state, State::Running | State::PreCopy);
        if state != State::Error && !engine.device().lost {
            assert!(running || !runs, "{step:?}: {state} and stopped");
            assert!(!self.healthy || running == runs, "{step:?}: {state}");
        }
        if engine.is_loaded() {
            assert_eq!(engine.device().contents(), source().contents());
        }
        self.loads();
    }

    /// Checks that another device takes an image that was saved as a whole, and has the same
    /// contents.
    fn loads(&mut self) {
        let engine = self.side.object.engine();
        let whole = self.saved.whole && engine.session() == Some(self.saved.session);
        if !whole || !engine.is_saved() {
            return;
        }
        self.saved.whole = false;
        let (mut target, host) = (Engine::new(Fake::new(MEMORY, CHUNK)), Host::default());
        let armed = alloc::succeed();
        target
            .set_state(&host, Protocol::V2, State::Resuming)
            .unwrap();
        write_all(&mut target, &host, &self.saved.image).unwrap();
        assert!(target.is_loaded());
        assert_eq!(target.device().contents(), engine.device().contents());
        if armed {
            alloc::fail_after(0);
        }
    }

    /// Notes that bytes went out; without `bytes`, unseen.
    fn went_out(&mut self, bytes: Option<&[u8]>) {
        let Some(session) = self.engine().session() else {
            return;
        };
        if self.saved.session != session {
            self.saved = Saved {
                session,
                image: Vec::new(),
                whole: true,
            };
        }
        match bytes {
            Some(bytes) => self.saved.image.extend_from_slice(bytes),
            None => self.saved.whole = false,
        }
    }

    /// Notes that bytes went out unseen if the counter is no longer at `before`.
    fn unseen(&mut self, before: u64) {
        if before != self.bytes_saved() {
            self.went_out(None);
        }
    }

    /// Returns the next bytes of the image to give.
    fn next_bytes(&mut self, count: u8) -> &'static [u8] {
        let session = self.engine().session();
        if self.given.0 != session {
            self.given = (session, 0);
        }
        let rest = &image()[self.given.1.min(image().len())..];
        &rest[..rest.len().min(usize::from(count)).min(WINDOW)]
    }

    /// Returns the session that a data file belongs to.
    fn session(&self, session: Session) -> u64 {
        match (self.engine().session(), session) {
            (Some(current), Session::Current) => current,
            (Some(current), Session::Former) => current - 1,
            (None, _) => self.sessions,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::SetState(state) => self.set_state(state),
            Step::Read(session, count) => self.read(session, count),
            Step::Write(session, count) => {
                let (session, bytes) = (self.session(session), self.next_bytes(count));
                let Side { object, host, .. } = &mut self.side;
                let (v2, engine) = object.v2();
                let result = v2.write(engine, host, session, bytes);
                let taken = result.unwrap_or(0);
                assert!(taken <= bytes.len());
                assert!(result.is_err() || bytes.is_empty() || taken > 0);
                self.gave(&bytes[..taken], result.map(drop));
            }
            Step::WriteWrong(session, mask) => {
                let (session, bytes) = (self.session(session), self.next_bytes(1));
                let byte = bytes.first().copied().unwrap_or_default() ^ mask.max(1);
                let Side { object, host, .. } = &mut self.side;
                let (v2, engine) = object.v2();
                if v2.write(engine, host, session, &[byte]).is_ok() {
                    // The checksum will be wrong, so no good byte helps any more.
                    self.given.1 = image().len();
                }
            }
            Step::Poll(session) => {
                let session = self.session(session);
                let healthy = self.healthy;
                let Side { object, host, .. } = &mut self.side;
                let (v2, engine) = object.v2();
                let readiness = v2.readiness(engine, host, session);
                let info = v2.precopy_info(engine, host, session);
                let precopy = matches!(engine.state(), State::PreCopy | State::PreCopyP2p);
                assert!(precopy || info == Err(EINVAL));
                if let Ok(info) = info {
                    let now = info.initial_bytes + info.dirty_bytes;
                    assert_eq!(now, engine.pending(host).available);
                    assert_eq!(now != 0, readiness == Readiness::Now);
                    assert!(info.initial_bytes <= self.initial.1 || self.initial.0 != session);
                    self.initial = (session, info.initial_bytes);
                    if healthy {
                        let found = v2.stage(engine, host, session).unwrap();
                        assert_eq!(now == 0, found == Found::NothingNow);
                    }
                }
            }
            Step::Get2018(field) => {
                let field = Field::ALL[usize::from(field) % Field::ALL.len()];
                let before = self.bytes_saved();
                let result = self.side.get(field);
                self.unseen(before);
                self.allow(result);
            }
            Step::Enter2018(state) => {
                let before = self.bytes_saved();
                let result = self.side.set(Field::DeviceState, u64::from(state % 11));
                self.unseen(before);
                self.allow(result);
            }
            Step::Set2018(field, value) => {
                let field = Field::ALL[1 + usize::from(field) % (Field::ALL.len() - 1)];
                // The section may hold any bytes.
                let given = self.engine().state() == State::Resuming;
                let before = self.bytes_saved();
                let result = self.side.set(field, value.into());
                self.unseen(before);
                if given && field == Field::DataSize && result.is_ok() {
                    self.given.1 = image().len();
                }
                self.allow(result);
            }
            Step::Give2018(count) => {
                let bytes = self.next_bytes(count);
                let result = self.side.give(bytes);
                self.gave(bytes, result);
            }
            Step::Take2018 => {
                // A buffer that was staged and not taken is gone, and so is a bitmap.
                let before = self.bytes_saved();
                self.side.pending();
                let result = self.side.take();
                self.took(before, Protocol::Region2018, result);
            }
            Step::GetV1(field) => {
                let (offset, width) = FIELDS_V1[usize::from(field) % FIELDS_V1.len()];
                let before = (self.engine().owner(), self.bytes_saved());
                let result = self.get_v1(offset, width);
                if before.0 == Some(Protocol::RegionV1) || before.1 != self.bytes_saved() {
                    self.went_out(None);
                }
                self.allow(result);
            }
            Step::EnterV1(state) => {
                let result = self.set_v1(0, &u32::from(state % 9).to_le_bytes());
                self.allow(result);
            }
            Step::GiveV1(count) => {
                let bytes = self.next_bytes(count);
                self.side.window.bytes.borrow_mut()[..bytes.len()].copy_from_slice(bytes);
                let result = self.set_v1(24, &(bytes.len() as u64).to_le_bytes());
                self.gave(bytes, result);
            }
            Step::TakeV1 => {
                let before = self.bytes_saved();
                let result = self.take_v1();
                self.took(before, Protocol::RegionV1, result);
            }
            Step::Guest(place, value) => self.guest(place, value),
            Step::Poke(at, value) => {
                let device = self.side.device();
                if device.running && !device.lost {
                    match usize::from(at) {
                        at if at < MEMORY => device.poke(at, value),
                        _ => device.busy = value & 1 != 0,
                    }
                }
            }
            Step::Land => {
                let Side { object, host, .. } = &mut self.side;
                object.engine_mut().device_mut().land(host);
            }
            Step::Track(true) => {
                let Side { object, host, .. } = &mut self.side;
                let (v2, engine) = object.v2();
                let result = v2.log_start(engine, host);
                self.allow(result);
            }
            Step::Track(false) => {
                let Side { object, host, .. } = &mut self.side;
                let (v2, engine) = object.v2();
                v2.log_stop(engine, host);
            }
            Step::Reset(way) => self.reset(way),
            Step::Fault(op, skip, lose) => {
                let op = OPS[usize::from(op) % OPS.len()];
                let error = if skip & INTERRUPT == 0 { EIO } else { EINTR };
                self.side
                    .host
                    .fail
                    .set(Some((op, u32::from(skip % 4), error)));
                self.side.host.lose.set(lose);
                self.healthy = false;
            }
            Step::WindowFault(skip) => {
                self.side.window.fail.set(Some(u32::from(skip % 8)));
                self.healthy = false;
            }
            Step::Starve(skip) => {
                alloc::fail_after(u64::from(skip % 16));
                self.healthy = false;
            }
        }
    }

    /// Checks that without a fault only the errors that the contracts name come back.
    fn allow<T>(&self, result: Result<T>) {
        if let (true, Err(error)) = (self.healthy, result) {
            assert!([EINVAL, EBUSY, ENODEV].contains(&error), "{error:?}");
        }
    }

    fn bytes_saved(&self) -> u64 {
        self.engine().counters().bytes_saved
    }

    fn set_state(&mut self, state: u8) {
        let target = State::ALL[usize::from(state) % State::ALL.len()];
        let (from, owner, ..) = self.migration();
        let free = owner.is_none_or(|owner| owner == Protocol::V2);
        let Side { object, host, .. } = &mut self.side;
        let session = object.engine().session_of(target);
        let (v2, engine) = object.v2();
        let result = v2.set_state(engine, host, target);
        self.allow(result);
        match result {
            Ok(()) => {
                assert!(free && next(from, target).is_ok());
                assert_eq!(self.engine().state(), target);
                if session.is_some() {
                    assert_eq!(self.engine().session(), session);
                }
            }
            Err(error) if !free => assert_eq!(error, EBUSY),
            // An image that is not complete keeps the device where it is.
            Err(_) => assert!(
                !self.healthy || next(from, target).is_err() || from == State::Resuming,
                "{from} -> {target}"
            ),
        }
    }

    fn read(&mut self, session: Session, count: u8) {
        let session = self.session(session);
        let ours =
            self.engine().owner() == Some(Protocol::V2) && self.engine().session() == Some(session);
        let Side { object, host, .. } = &mut self.side;
        let (v2, engine) = object.v2();
        let found = match v2.stage(engine, host, session) {
            Ok(Found::Bytes(bytes)) => bytes[..bytes.len().min(count.into())].to_vec(),
            Ok(Found::NothingNow) => return,
            Ok(Found::End) => {
                assert!(object.engine().is_saved());
                return;
            }
            Err(error) => {
                assert!(ours || error == ENODEV);
                return self.allow(Err::<(), _>(error));
            }
        };
        assert!(ours);
        v2.consume(engine, host, session, found.len()).unwrap();
        self.went_out(Some(&found));
    }

    fn gave(&mut self, bytes: &[u8], result: Result) {
        self.allow(result);
        if result.is_ok() && self.engine().state() == State::Resuming {
            self.given.1 += bytes.len();
        }
    }

    fn took(&mut self, before: u64, protocol: Protocol, result: Result<Vec<u8>>) {
        let moved = self.bytes_saved() - before;
        match &result {
            Ok(bytes) if self.engine().owner() == Some(protocol) && moved == bytes.len() as u64 => {
                self.went_out(Some(bytes));
            }
            _ if moved > 0 => self.went_out(None),
            _ => {}
        }
        self.allow(result);
    }

    fn get_v1(&mut self, offset: usize, width: usize) -> Result<u64> {
        let Side {
            object,
            host,
            window,
        } = &mut self.side;
        let mut bytes = [0; 8];
        object.region_read(
            MigrationRegion::RegionV1,
            host,
            window,
            offset,
            &mut bytes[..width],
        )?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set_v1(&mut self, offset: usize, bytes: &[u8]) -> Result {
        self.side.write_to(MigrationRegion::RegionV1, offset, bytes)
    }

    fn take_v1(&mut self) -> Result<Vec<u8>> {
        self.get_v1(8, 8)?;
        assert_eq!(self.get_v1(16, 8)?, DATA_OFFSET);
        let size = self.get_v1(24, 8)? as usize;
        let bytes = self.side.window.bytes.borrow()[..size].to_vec();
        self.get_v1(8, 8)?;
        Ok(bytes)
    }

    fn guest(&mut self, place: u8, value: u32) {
        if self.lost() {
            return;
        }
        let state = self.engine().state();
        let offset = match place % 8 {
            7 => DMA,
            register => 4 * u64::from(register),
        };
        let Side { object, host, .. } = &mut self.side;
        let seen = object.engine_mut().read_register(host, register(offset));
        let result = object
            .engine_mut()
            .write_register(host, register(offset), value.into());
        if !matches!(state, State::Running | State::PreCopy) {
            assert_eq!(result, Err(EBUSY));
            assert_eq!(
                object.engine_mut().read_register(host, register(offset)),
                seen
            );
        }
        self.allow(result);
    }

    fn reset(&mut self, way: u8) {
        let Side { object, host, .. } = &mut self.side;
        let result = match way % 3 {
            0 => object.engine_mut().reset(host),
            1 => object
                .engine_mut()
                .close(host)
                .and_then(|()| object.engine_mut().open(host)),
            _ => object.engine_mut().open(host),
        };
        if result.is_ok() {
            let engine = object.engine();
            assert_eq!((engine.state(), engine.owner()), (State::Running, None));
            assert_eq!(engine.dirty_tracker(), None);
        }
        assert!(!self.healthy || result.is_ok());
    }
}

/// Returns the protocol by which a step comes.
fn protocol(step: Step) -> Option<Protocol> {
    match step {
        Step::SetState(_)
        | Step::Read(..)
        | Step::Write(..)
        | Step::WriteWrong(..)
        | Step::Poll(_)
        | Step::Track(_) => Some(Protocol::V2),
        Step::Get2018(_)
        | Step::Enter2018(_)
        | Step::Set2018(..)
        | Step::Give2018(_)
        | Step::Take2018 => Some(Protocol::Region2018),
        Step::GetV1(_) | Step::EnterV1(_) | Step::GiveV1(_) | Step::TakeV1 => {
            Some(Protocol::RegionV1)
        }
        _ => None,
    }
}
