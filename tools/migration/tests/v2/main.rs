// SPDX-License-Identifier: GPL-2.0-only

//! The v2 protocol: sessions and what their files may do; the three protocols side by side.

mod common;

use common::{Fake, Host, Op, Side, OPS};
use kernel::error::{code::*, Result};
use migration::{
    engine::{Engine, Protocol},
    protocols::{
        region_2018::{layout::Field, state::DeviceState},
        v2::{self, Found, PrecopyInfo, Readiness},
        MigrationRegion,
    },
    state::{next, State},
};

const MEMORY: usize = 200;
const CHUNK: usize = 64;

/// A user of a device.
struct User {
    engine: Engine<Fake>,
    host: Host,
}

impl User {
    fn new(device: Fake) -> Self {
        Self {
            engine: Engine::new(device),
            host: Host::default(),
        }
    }

    /// Changes the state as the ioctl does; returns the session of the file that it returns.
    fn set(&mut self, target: State) -> Result<Option<u64>> {
        let session = self.engine.session_of(target);
        v2::set_state(&mut self.engine, &self.host, target)?;
        Ok(session)
    }

    /// Changes to a state that begins a session.
    fn begin(&mut self, target: State) -> u64 {
        self.set(target).unwrap().unwrap()
    }

    /// Reads as the file does.
    fn read(&mut self, session: u64, count: usize) -> Result<Vec<u8>> {
        let bytes = match v2::stage(&mut self.engine, &self.host, session)? {
            Found::Bytes(bytes) => bytes[..bytes.len().min(count)].to_vec(),
            Found::NothingNow => return Err(ENOMSG),
            Found::End => return Ok(Vec::new()),
        };
        v2::consume(&mut self.engine, &self.host, session, bytes.len())?;
        Ok(bytes)
    }

    /// Reads until there is nothing now or nothing more.
    fn drain(&mut self, session: u64, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.read(session, count) {
                Ok(bytes) if bytes.is_empty() => return all,
                Ok(bytes) => all.extend(bytes),
                Err(error) => {
                    assert_eq!(error, ENOMSG);
                    return all;
                }
            }
        }
    }

    /// Writes as the file does.
    fn write(&mut self, session: u64, mut bytes: &[u8]) -> Result {
        while !bytes.is_empty() {
            bytes = &bytes[v2::write(&mut self.engine, &self.host, session, bytes)?..];
        }
        Ok(())
    }

    fn info(&mut self, session: u64) -> Result<PrecopyInfo> {
        v2::precopy_info(&mut self.engine, &self.host, session)
    }

    fn readiness(&self, session: u64) -> Readiness {
        v2::readiness(&self.engine, &self.host, session)
    }

    fn is_readable(&self, session: u64) -> bool {
        self.readiness(session) == Readiness::Now
    }

    /// Estimate, poll and read tell the same in pre-copy; returns what they tell.
    fn agrees(&mut self, session: u64) -> (PrecopyInfo, Readiness) {
        let info = self.info(session).unwrap();
        let readiness = self.readiness(session);
        let has_bytes = match v2::stage(&mut self.engine, &self.host, session).unwrap() {
            Found::Bytes(bytes) => !bytes.is_empty(),
            Found::NothingNow => false,
            Found::End => panic!("no end while the device runs"),
        };
        assert_eq!(info != PrecopyInfo::default(), has_bytes, "{info:?}");
        assert_eq!(readiness == Readiness::Now, has_bytes, "{readiness:?}");
        assert_eq!(
            self.info(session).unwrap(),
            info,
            "reading nothing changes nothing"
        );
        (info, readiness)
    }

    fn data_size(&self) -> u64 {
        self.engine.data_size(&self.host)
    }

    /// A file's session is over for good.
    fn is_dead(&mut self, session: u64) {
        for _ in 0..2 {
            let (engine, host) = (&mut self.engine, &self.host);
            assert_eq!(v2::stage(engine, host, session), Err(ENODEV));
            assert_eq!(v2::consume(engine, host, session, 1), Err(ENODEV));
            assert_eq!(v2::write(engine, host, session, &[1]), Err(ENODEV));
            assert!(self.is_readable(session));
            // Outside of the pre-copy states the uAPI has an errno of its own.
            let info = match self.engine.state() {
                State::PreCopy | State::PreCopyP2p => ENODEV,
                _ => EINVAL,
            };
            assert_eq!(self.info(session), Err(info));
        }
    }

    /// Brings a fresh device to a state; `image` is loaded on the way to RESUMING.
    fn at(state: State, image: Option<&[u8]>) -> (Self, Option<u64>) {
        let mut user = Self::new(Fake::filled(MEMORY, CHUNK));
        if state == State::Error {
            user.host.lose.set(true);
            user.host.fail(Op::Quiesce, EIO);
            assert_eq!(user.set(State::Stop), Err(EIO));
            user.host.lose.set(false);
            return (user, None);
        }
        let session = user.set(state).unwrap();
        if let (State::Resuming, Some(image)) = (state, image) {
            user.write(session.unwrap(), image).unwrap();
        }
        (user, session)
    }
}

fn image() -> Vec<u8> {
    let mut user = User::new(Fake::filled(MEMORY, CHUNK));
    let session = user.begin(State::StopCopy);
    user.drain(session, 999)
}

/// Whether the way from one state to another has one of the four arcs that begin a session.
fn begins(from: State, to: State) -> bool {
    let mut at = from;
    let mut found = false;
    while at != to {
        let Ok(then) = next(at, to) else { return false };
        found |= matches!(
            (at, then),
            (State::Running, State::PreCopy)
                | (State::RunningP2p, State::PreCopyP2p)
                | (State::Stop, State::StopCopy | State::Resuming)
        );
        at = then;
    }
    found
}

#[test]
fn which_of_all_pairs_begin_a_session() {
    let image = image();
    for from in State::ALL {
        for to in State::ALL {
            for complete in [false, true] {
                let (mut user, before) = User::at(from, complete.then_some(&*image));
                assert_eq!(user.engine.state(), from);
                assert_eq!(user.engine.session(), before, "{from} -> {to}");
                let promised = user.engine.session_of(to);
                let result = user.set(to);
                let session = user.engine.session();
                let blocked = from == State::Resuming && to != from && !complete;
                if next(from, to).is_err() || blocked {
                    assert_eq!(result, Err(EINVAL), "{from} -> {to}");
                    assert_eq!((user.engine.state(), session), (from, before));
                    if let Some(promised) = promised {
                        user.is_dead(promised);
                    }
                    continue;
                }
                assert_eq!(result, Ok(promised), "{from} -> {to}");
                assert_eq!(promised.is_some(), begins(from, to), "{from} -> {to}");
                let saving = [State::PreCopy, State::PreCopyP2p, State::StopCopy];
                match promised {
                    Some(_) => assert_eq!(session, promised),
                    None if from == to => assert_eq!(session, before),
                    None if saving.contains(&from) && saving.contains(&to) => {
                        assert_eq!(session, before, "the saving group shares a session");
                    }
                    None => assert_eq!(session, None, "{from} -> {to}"),
                }
                if let Some(before) = before.filter(|before| session != Some(*before)) {
                    user.is_dead(before);
                }
            }
        }
    }
}

#[test]
fn a_transition_that_fails_begins_no_session() {
    let image = image();
    for lose in [false, true] {
        for op in OPS {
            for skip in 0..3 {
                for from in &State::ALL[1..] {
                    for to in &State::ALL[1..] {
                        let (mut user, before) = User::at(*from, Some(&image));
                        let promised = user.engine.session_of(*to);
                        user.host.lose.set(lose);
                        user.host.fail.set(Some((op, skip, EIO)));
                        let what = format!("{op:?} {skip} {from} -> {to}");
                        if user.set(*to).is_ok() {
                            assert_eq!(user.engine.state(), *to, "{what}");
                            continue;
                        }
                        user.host.fail.set(None);
                        if let Some(promised) = promised {
                            user.is_dead(promised);
                        }
                        // The one before goes on only where the device stayed in its states.
                        let state = user.engine.state();
                        let kept = before.filter(|_| user.engine.session() == before);
                        if let Some(before) = before.filter(|_| kept.is_none()) {
                            user.is_dead(before);
                            assert!(!state.is_saving() && state != State::Resuming, "{what}");
                        }
                        // It never gets bytes of the next.
                        if user.engine.state() == State::Error {
                            user.host.lose.set(false);
                            user.engine.device_mut().lost = false;
                        }
                        user.engine.reset(&user.host).unwrap();
                        let after = user.begin(State::PreCopy);
                        if let Some(before) = before {
                            assert_ne!(before, after);
                            user.is_dead(before);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_session_has_a_number_of_its_own() {
    let image = image();
    let mut user = User::new(Fake::filled(MEMORY, CHUNK));
    let mut dead = Vec::new();
    for state in [
        State::PreCopy,
        State::StopCopy,
        State::Resuming,
        State::PreCopyP2p,
    ]
    .repeat(3)
    {
        let session = user.begin(state);
        assert!(!dead.contains(&session));
        for other in dead.iter().copied() {
            user.is_dead(other);
        }
        if state == State::Resuming {
            user.write(session, &image).unwrap();
        }
        user.set(State::Running).unwrap();
        user.is_dead(session);
        dead.push(session);
    }
}

#[test]
fn reset_open_and_a_lost_device_end_a_session() {
    for state in [
        State::PreCopy,
        State::PreCopyP2p,
        State::StopCopy,
        State::Resuming,
    ] {
        for how in 0..3 {
            let (mut user, session) = User::at(state, None);
            match how {
                0 => user.engine.reset(&user.host).unwrap(),
                1 => user.engine.open(&user.host).unwrap(),
                _ => {
                    user.host.lose.set(true);
                    user.host.fail(Op::Reset, EIO);
                    assert_eq!(user.engine.reset(&user.host), Err(EIO));
                    assert_eq!(user.engine.state(), State::Error);
                }
            }
            user.is_dead(session.unwrap());
            if how != 2 {
                assert_eq!(user.engine.state(), State::Running);
            }
        }
    }
}

#[test]
fn a_refused_image_is_refused_for_good() {
    let image = image();
    for at in 0..image.len() {
        let mut bad = image.clone();
        bad[at] ^= 1;
        let (mut user, session) = User::at(State::Resuming, None);
        let session = session.unwrap();
        let error = user.write(session, &bad).unwrap_err();
        assert_eq!(user.write(session, &image), Err(error), "byte {at}");
        for to in &State::ALL[1..] {
            let result = user.set(*to);
            assert_eq!(result.is_ok(), *to == State::Resuming, "{to}");
        }
        user.engine.reset(&user.host).unwrap();
        user.is_dead(session);
        let session = user.begin(State::Resuming);
        user.write(session, &image).unwrap();
        user.set(State::Running).unwrap();
        assert_eq!(
            user.engine.device().contents(),
            Fake::filled(MEMORY, CHUNK).contents()
        );
    }
}

#[test]
fn an_interrupted_write_is_no_refusal() {
    let image = image();
    for op in [Op::Load, Op::LoadEnd] {
        for error in [EINTR, ERESTARTSYS] {
            let (mut user, session) = User::at(State::Resuming, None);
            let session = session.unwrap();
            user.host.fail(op, error);
            let mut given = 0;
            let mut interrupted = 0;
            while given < image.len() {
                match v2::write(&mut user.engine, &user.host, session, &image[given..]) {
                    Ok(count) => given += count,
                    Err(found) => {
                        assert_eq!(found, error);
                        interrupted += 1;
                    }
                }
            }
            assert!(interrupted <= 1);
            assert_eq!(user.host.fail.get(), None, "it was interrupted");
            assert_eq!(user.engine.last_refusal(), None);
            user.set(State::Running).unwrap();
            assert_eq!(
                user.engine.device().contents(),
                Fake::filled(MEMORY, CHUNK).contents()
            );
        }
    }
}

#[test]
fn an_incomplete_image_fails_the_arc_out_of_resuming() {
    let image = image();
    for len in 0..image.len() {
        let (mut user, session) = User::at(State::Resuming, Some(&image[..len]));
        for to in [State::Stop, State::Running, State::StopCopy, State::PreCopy] {
            assert_eq!(user.set(to), Err(EINVAL), "{len} bytes");
            assert_eq!(user.engine.state(), State::Resuming);
        }
        // The rest may still come.
        user.write(session.unwrap(), &image[len..]).unwrap();
        user.set(State::Stop).unwrap();
    }
}

#[test]
fn nothing_now_and_the_end() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    let mut all = user.drain(session, 50);
    for state in [State::PreCopy, State::PreCopyP2p, State::PreCopy] {
        user.set(state).unwrap();
        for _ in 0..2 {
            assert_eq!(user.read(session, 1), Err(ENOMSG));
            assert!(!user.is_readable(session));
        }
    }
    user.engine.device_mut().poke(3, 1);
    assert!(user.is_readable(session));
    let again = user.drain(session, 50);
    assert!(!again.is_empty() && !user.is_readable(session));
    all.extend(again);

    user.set(State::StopCopy).unwrap();
    assert!(user.is_readable(session));
    all.extend(user.drain(session, 7));
    for _ in 0..3 {
        // Always readable, and never ENOMSG.
        assert_eq!(user.read(session, 1), Ok(Vec::new()));
        assert!(user.is_readable(session));
    }

    let (mut target, file) = User::at(State::Resuming, Some(&all));
    target.set(State::Running).unwrap();
    target.is_dead(file.unwrap());
    assert_eq!(
        target.engine.device().contents(),
        user.engine.device().contents()
    );
}

#[test]
fn bytes_stay_until_they_are_consumed() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    let image = image();
    let mut all = Vec::new();
    let mut state = State::PreCopy;
    while all.len() < image.len() {
        let found = v2::stage(&mut user.engine, &user.host, session).unwrap();
        let bytes = match found {
            Found::Bytes(bytes) => bytes.to_vec(),
            Found::NothingNow if state == State::PreCopy => {
                state = State::StopCopy;
                assert_eq!(user.set(state), Ok(None));
                continue;
            }
            other => panic!("{other:?}"),
        };
        // A copy to user memory that failed: the same again.
        let again = v2::stage(&mut user.engine, &user.host, session);
        assert_eq!(again, Ok(Found::Bytes(&bytes)));
        v2::consume(&mut user.engine, &user.host, session, 0).unwrap();
        let again = v2::stage(&mut user.engine, &user.host, session);
        assert_eq!(again, Ok(Found::Bytes(&bytes)));
        v2::consume(&mut user.engine, &user.host, session, 1).unwrap();
        all.push(bytes[0]);
    }
    assert_eq!(all, image);
}

#[test]
fn the_wrong_direction() {
    let (mut user, session) = User::at(State::Resuming, None);
    let session = session.unwrap();
    assert_eq!(user.read(session, 1), Err(EINVAL));
    for state in [State::PreCopy, State::PreCopyP2p, State::StopCopy] {
        let (mut user, session) = User::at(state, None);
        assert_eq!(user.write(session.unwrap(), &[1]), Err(EINVAL));
        assert!(!user.drain(session.unwrap(), 9).is_empty());
    }
}

#[test]
fn a_failing_save_loses_no_bytes() {
    for at in 0..8 {
        let (mut user, session) = User::at(State::StopCopy, None);
        let session = session.unwrap();
        user.host.fail.set(Some((Op::Save, at, EIO)));
        let mut all = Vec::new();
        loop {
            match user.read(session, 11) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => all.extend(bytes),
                Err(error) => assert_eq!(error, EIO),
            }
        }
        assert_eq!(all, image());
    }
}

#[test]
fn precopy_info_only_in_the_precopy_states() {
    for state in &State::ALL[1..] {
        let (mut user, session) = User::at(*state, None);
        let session = session.unwrap_or(0);
        match state {
            State::PreCopy | State::PreCopyP2p => {
                assert_ne!(user.info(session).unwrap().initial_bytes, 0);
                assert_eq!(user.info(session + 1), Err(ENODEV));
            }
            _ => assert_eq!(user.info(session), Err(EINVAL), "{state}"),
        }
    }
}

#[test]
fn initial_bytes_go_down_to_nothing_and_dirty_bytes_come_after() {
    for state in [State::PreCopy, State::PreCopyP2p] {
        let (mut user, session) = User::at(state, None);
        let session = session.unwrap();
        let mut before = user.info(session).unwrap();
        let mut left = before.initial_bytes;
        assert_ne!(left, 0);
        while let Ok(bytes) = user.read(session, 10) {
            assert!(!bytes.is_empty(), "no end while the device runs");
            left -= bytes.len() as u64;
            let info = user.info(session).unwrap();
            assert_eq!(info.initial_bytes, left, "exact");
            assert_eq!(info.dirty_bytes, 0);
            before = info;
        }
        assert_eq!(before, PrecopyInfo::default());

        user.engine.device_mut().poke(1, 9);
        let info = user.info(session).unwrap();
        assert_eq!(info.initial_bytes, 0);
        let dirty = info.dirty_bytes;
        assert!(dirty > CHUNK as u64);
        let taken = user.read(session, 10).unwrap().len() as u64;
        assert_eq!(user.info(session).unwrap().dirty_bytes, dirty - taken);
        assert_eq!(user.info(session).unwrap().initial_bytes, 0);
        user.drain(session, 99);
        assert_eq!(user.info(session), Ok(PrecopyInfo::default()));
    }
}

#[test]
fn initial_bytes_that_were_nothing_never_come_back() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    while user.info(session).unwrap().initial_bytes != 0 {
        user.read(session, 1000).unwrap();
    }
    // The device changes before the user has met the end.
    user.engine.device_mut().poke(1, 9);
    let info = user.info(session).unwrap();
    assert_eq!(info.initial_bytes, 0);
    assert!(info.dirty_bytes > CHUNK as u64);
}

#[test]
fn initial_bytes_reach_nothing_while_the_guest_keeps_the_device_dirty() {
    for state in [State::PreCopy, State::PreCopyP2p] {
        for count in [7, 10, 99, 1000] {
            let (mut user, session) = User::at(state, None);
            let session = session.unwrap();
            let start = user.info(session).unwrap().initial_bytes;
            assert!(start > MEMORY as u64);
            let mut sent = 0;
            for round in 0..2000usize {
                sent += user.read(session, count).unwrap().len() as u64;
                // All that was sent is to be sent again.
                for chunk in 0..MEMORY.div_ceil(CHUNK) {
                    user.engine.device_mut().poke(chunk * CHUNK, round as u8);
                }
                let info = user.info(session).unwrap();
                assert_eq!(info.initial_bytes, start.saturating_sub(sent), "{state}");
                let left = user.engine.pending(&user.host).precopy_only;
                assert_eq!(info.initial_bytes + info.dirty_bytes, left);
                assert_ne!(left, 0, "there is always more");
            }
        }
    }
}

#[test]
fn while_the_device_is_at_work_there_is_nothing_now() {
    for state in [State::PreCopy, State::PreCopyP2p] {
        for busy_after in 0..4 {
            let (mut user, session) = User::at(state, None);
            let session = session.unwrap();
            // The header, then sections of the memory.
            for _ in 0..busy_after {
                user.agrees(session);
                user.read(session, 1000).unwrap();
            }
            let before = user.agrees(session).0;
            user.engine.device_mut().busy = true;
            let left = user.engine.pending(&user.host);
            assert_eq!(left.precopy_only, before.initial_bytes, "all of it is left");

            // What is staged still goes; then nothing does, though not all is gone.
            let taken = user.drain(session, 10).len() as u64;
            assert!(taken < before.initial_bytes);
            let (info, readiness) = user.agrees(session);
            assert_eq!(
                (info, readiness),
                (PrecopyInfo::default(), Readiness::Later)
            );
            let left = user.engine.pending(&user.host);
            assert_eq!(left.precopy_only, before.initial_bytes - taken);
            assert_eq!(left.available, 0);

            // What could not go is no longer what was there at the beginning.
            user.engine.device_mut().busy = false;
            let (info, readiness) = user.agrees(session);
            assert_eq!((info.initial_bytes, readiness), (0, Readiness::Now));
            assert_eq!(info.dirty_bytes, before.initial_bytes - taken);
            user.drain(session, 99);
            let (info, readiness) = user.agrees(session);
            assert_eq!(
                (info, readiness),
                (PrecopyInfo::default(), Readiness::Nothing)
            );

            // In STOP_COPY there is an end and no waiting.
            user.set(State::StopCopy).unwrap();
            assert_eq!(user.readiness(session), Readiness::Now);
        }
    }
}

#[test]
fn an_image_begun_while_the_device_is_at_work() {
    let mut user = User::new(Fake::filled(MEMORY, CHUNK));
    user.engine.device_mut().busy = true;
    let session = user.begin(State::PreCopy);
    // Nothing but the header can go, and it is there at the beginning.
    let (info, readiness) = user.agrees(session);
    assert_eq!((info.initial_bytes, info.dirty_bytes), (64, 0));
    assert_eq!(readiness, Readiness::Now);
    user.drain(session, 99);
    assert_eq!(user.agrees(session).1, Readiness::Later);
    user.set(State::StopCopy).unwrap();
    let rest = user.drain(session, 99);
    assert_eq!(64 + rest.len(), image().len());
}

#[test]
fn initial_bytes_never_go_up() {
    let (mut user, session) = User::at(State::PreCopy, None);
    let session = session.unwrap();
    let mut last = u64::MAX;
    for step in 0..100usize {
        user.engine.device_mut().busy = step % 3 == 1;
        if step % 7 == 0 {
            user.engine.device_mut().poke(step, 1);
        }
        let (info, _) = user.agrees(session);
        assert!(info.initial_bytes <= last);
        last = info.initial_bytes;
        let _ = user.read(session, 11);
    }
    assert_eq!(last, 0);
}

#[test]
fn data_size_is_exact_and_never_nothing() {
    let image = image();
    for state in State::ALL {
        let (mut user, session) = User::at(state, None);
        if !state.is_saving() {
            assert_eq!(user.data_size(), image.len() as u64, "{state}");
            continue;
        }
        let session = session.unwrap();
        let mut left = image.len() as u64;
        loop {
            assert_eq!(user.data_size(), left.max(1), "{state}");
            match user.read(session, 13) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => left -= bytes.len() as u64,
                Err(_) => {
                    user.set(State::StopCopy).unwrap();
                }
            }
        }
        assert_eq!(left, 0);
    }
    // Not even for a device with nothing in it.
    let mut user = User::new(Fake::new(0, CHUNK));
    assert_ne!(user.data_size(), 0);
    let session = user.begin(State::StopCopy);
    user.drain(session, 999);
    assert_eq!(user.data_size(), 1);
}

// The three protocols.

/// Offsets and widths of the v1 header.
const V1_STATE: usize = 0;
const V1_PENDING: usize = 8;
const V1_SIZE: usize = 24;

fn v1_get(side: &mut Side, offset: usize) -> u64 {
    let mut bytes = [0; 8];
    let width = if offset == V1_STATE { 4 } else { 8 };
    side.object
        .region_read(
            MigrationRegion::RegionV1,
            &side.host,
            &side.window,
            offset,
            &mut bytes[..width],
        )
        .unwrap();
    u64::from_le_bytes(bytes)
}

fn v1_set(side: &mut Side, offset: usize, value: u64) -> Result {
    let width = if offset == V1_STATE { 4 } else { 8 };
    let bytes = &value.to_le_bytes()[..width];
    side.write_to(MigrationRegion::RegionV1, offset, bytes)
}

fn v2_set(side: &mut Side, target: State) -> Result {
    v2::set_state(side.object.engine_mut(), &side.host, target)
}

fn v2_drain(side: &mut Side) -> Vec<u8> {
    let session = side.object.engine().session().unwrap();
    let mut all = Vec::new();
    while let Ok(Found::Bytes(bytes)) = v2::stage(side.object.engine_mut(), &side.host, session) {
        let bytes = bytes.to_vec();
        v2::consume(side.object.engine_mut(), &side.host, session, bytes.len()).unwrap();
        all.extend(bytes);
    }
    all
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Region2018, Protocol::RegionV1, Protocol::V2];

fn save(side: &mut Side, protocol: Protocol, precopy: bool) -> Vec<u8> {
    let mut all = Vec::new();
    for phase in if precopy { 0..2 } else { 1..2 } {
        match protocol {
            Protocol::Region2018 => {
                if phase == 0 {
                    side.enter(DeviceState::Setup).unwrap();
                    side.enter(DeviceState::Precopy).unwrap();
                } else {
                    side.enter(DeviceState::Stopncopy).unwrap();
                }
                all.extend(side.take_all().unwrap());
            }
            Protocol::RegionV1 => {
                v1_set(side, V1_STATE, [3, 2][phase]).unwrap();
                while v1_get(side, V1_PENDING) != 0 {
                    let size = v1_get(side, V1_SIZE) as usize;
                    all.extend_from_slice(&side.window.bytes.borrow()[..size]);
                }
            }
            Protocol::V2 => {
                v2_set(side, [State::PreCopy, State::StopCopy][phase]).unwrap();
                all.extend(v2_drain(side));
            }
        }
    }
    all
}

fn load(side: &mut Side, protocol: Protocol, image: &[u8]) {
    match protocol {
        Protocol::Region2018 => {
            side.enter(DeviceState::Resume).unwrap();
            side.give_all(image).unwrap();
            side.enter(DeviceState::ResumeCompleted).unwrap();
        }
        Protocol::RegionV1 => {
            v1_set(side, V1_STATE, 4).unwrap();
            let len = side.window.bytes.borrow().len();
            for chunk in image.chunks(len) {
                side.window.bytes.borrow_mut()[..chunk.len()].copy_from_slice(chunk);
                v1_set(side, V1_SIZE, chunk.len() as u64).unwrap();
            }
        }
        Protocol::V2 => {
            v2_set(side, State::Resuming).unwrap();
            let session = side.object.engine().session().unwrap();
            let mut rest = image;
            while !rest.is_empty() {
                let engine = side.object.engine_mut();
                rest = &rest[v2::write(engine, &side.host, session, rest).unwrap()..];
            }
        }
    }
    leave(side, protocol).unwrap();
}

/// Lets the device run again.
fn leave(side: &mut Side, protocol: Protocol) -> Result {
    match protocol {
        Protocol::Region2018 => side.enter(DeviceState::Running),
        Protocol::RegionV1 => v1_set(side, V1_STATE, 1),
        Protocol::V2 => v2_set(side, State::Running),
    }
}

#[test]
fn the_image_is_the_same_for_every_protocol() {
    let expected = image();
    for protocol in PROTOCOLS {
        for precopy in [false, true] {
            for window in [33, 64, 4096] {
                let mut side = Side::new(Fake::filled(MEMORY, CHUNK), window);
                let image = save(&mut side, protocol, precopy);
                assert_eq!(image, expected, "{protocol:?}, {precopy}, {window}");
            }
        }
    }
}

#[test]
fn what_one_protocol_saves_every_other_loads() {
    for from in PROTOCOLS {
        for to in PROTOCOLS {
            let mut source = Side::new(Fake::filled(MEMORY, CHUNK), 100);
            let image = save(&mut source, from, true);
            let mut target = Side::new(Fake::new(MEMORY, CHUNK), 77);
            load(&mut target, to, &image);
            assert_eq!(target.device().contents(), source.device().contents());
            assert!(target.device().running);
            // And the other way round, by the same protocols.
            leave(&mut source, from).unwrap();
            let image = save(&mut target, to, false);
            load(&mut source, from, &image);
            assert_eq!(target.device().contents(), source.device().contents());
        }
    }
}

/// The states that a protocol can bring the device to, away from running.
fn owned_states(protocol: Protocol) -> Vec<u64> {
    match protocol {
        Protocol::Region2018 => vec![0, 2, 3, 4, 5, 6, 7],
        Protocol::RegionV1 => vec![0, 2, 3, 4],
        Protocol::V2 => vec![1, 3, 4, 5, 6, 7],
    }
}

fn own(protocol: Protocol, state: u64, image: &[u8]) -> Side {
    let mut side = Side::new(Fake::filled(MEMORY, CHUNK), 4096);
    match protocol {
        Protocol::Region2018 => {
            let steps: &[u64] = match state {
                3 => &[2, 3],
                5 => &[4, 5],
                7 => &[6, 7],
                _ => &[state],
            };
            for step in steps {
                match step {
                    5 => drop(side.take_all().unwrap()),
                    7 => side.give_all(image).unwrap(),
                    _ => {}
                }
                side.set(Field::DeviceState, *step).unwrap();
            }
        }
        Protocol::RegionV1 => v1_set(&mut side, V1_STATE, state).unwrap(),
        Protocol::V2 => v2_set(&mut side, State::try_from(state as u32).unwrap()).unwrap(),
    }
    assert_eq!(side.object.engine().owner(), Some(protocol));
    side
}

#[test]
fn the_others_are_busy_in_every_state_of_the_owner() {
    let image = image();
    for owner in PROTOCOLS {
        for state in owned_states(owner) {
            for other in PROTOCOLS.into_iter().filter(|other| *other != owner) {
                let mut side = own(owner, state, &image);
                let what = format!("{owner:?} {state}, {other:?}");
                let before = side.object.engine().status();
                let contents = side.device().contents();
                side.host.called();
                match other {
                    Protocol::Region2018 => {
                        for state in DeviceState::ALL {
                            assert_eq!(side.enter(state), Err(EBUSY), "{what}, {state:?}");
                        }
                        assert_eq!(side.pending(), 0, "{what}");
                        assert_eq!(side.get(Field::DataSize), Ok(0), "{what}");
                        assert!(side.set(Field::DataSize, 1).is_err(), "{what}");
                    }
                    Protocol::RegionV1 => {
                        for state in 0..5 {
                            let result = v1_set(&mut side, V1_STATE, state);
                            assert_eq!(result, Err(EBUSY), "{what}, {state}");
                        }
                        assert_eq!(v1_get(&mut side, V1_PENDING), 0, "{what}");
                        assert_eq!(v1_get(&mut side, V1_SIZE), 0, "{what}");
                        assert_eq!(v1_set(&mut side, V1_SIZE, 1), Err(EBUSY), "{what}");
                    }
                    Protocol::V2 => {
                        for state in State::ALL {
                            assert_eq!(v2_set(&mut side, state), Err(EBUSY), "{what}, {state}");
                        }
                        // Not even with the number of the owner's session.
                        let session = side.object.engine().session().unwrap_or(1);
                        let engine = side.object.engine_mut();
                        assert_eq!(v2::stage(engine, &side.host, session), Err(ENODEV));
                        assert_eq!(v2::write(engine, &side.host, session, &[0]), Err(ENODEV));
                    }
                }
                assert!(side.host.called().is_empty(), "{what}");
                assert_eq!(side.object.engine().status(), before, "{what}");
                assert_eq!(side.device().contents(), contents);

                // A reset makes it the other's.
                side.object.reset(&side.host).unwrap();
                assert_eq!(save(&mut side, other, true).len(), image.len());
            }
        }
    }
}

#[test]
fn running_again_is_anyones() {
    for owner in PROTOCOLS {
        for other in PROTOCOLS {
            let mut side = Side::new(Fake::filled(MEMORY, CHUNK), 4096);
            for precopy in [true, false] {
                save(&mut side, owner, precopy);
                leave(&mut side, owner).unwrap();
                assert_eq!(side.object.engine().owner(), None);
                assert_eq!(save(&mut side, other, precopy), image());
                leave(&mut side, other).unwrap();
            }
        }
    }
}
