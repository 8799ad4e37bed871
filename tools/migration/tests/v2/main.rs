// SPDX-License-Identifier: GPL-2.0-only

//! The v2 protocol: sessions and what their files may do.

#[path = "../common/mod.rs"]
mod common;
mod file;
mod logging;
mod precopy;
mod sessions;

use crate::common::{Fake, Host, Op};
use kernel::error::{code::*, Result};
use migration::{
    engine::Engine,
    protocols::v2::{Found, PrecopyInfo, Readiness, V2},
    state::State,
};

const MEMORY: usize = 200;
const CHUNK: usize = 64;

/// A user of a device.
struct User {
    engine: Engine<Fake>,
    v2: V2,
    host: Host,
}

impl User {
    fn new(device: Fake) -> Self {
        Self {
            engine: Engine::new(device),
            v2: V2::new(),
            host: Host::default(),
        }
    }

    /// Changes the state as the ioctl does; returns the session of the file that the ioctl returns.
    fn set(&mut self, target: State) -> Result<Option<u64>> {
        let session = self.engine.session_of(target);
        self.v2.set_state(&mut self.engine, &self.host, target)?;
        Ok(session)
    }

    /// Changes to a state that begins a session.
    fn begin(&mut self, target: State) -> u64 {
        self.set(target).unwrap().unwrap()
    }

    /// Reads as the file does.
    fn read(&mut self, session: u64, count: usize) -> Result<Vec<u8>> {
        let bytes = match self.v2.stage(&mut self.engine, &self.host, session)? {
            Found::Bytes(bytes) => bytes[..bytes.len().min(count)].to_vec(),
            Found::NothingNow => return Err(ENOMSG),
            Found::End => return Ok(Vec::new()),
        };
        self.v2
            .consume(&mut self.engine, &self.host, session, bytes.len())?;
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
            bytes = &bytes[self
                .v2
                .write(&mut self.engine, &self.host, session, bytes)?..];
        }
        Ok(())
    }

    fn info(&mut self, session: u64) -> Result<PrecopyInfo> {
        self.v2.precopy_info(&self.engine, &self.host, session)
    }

    fn readiness(&self, session: u64) -> Readiness {
        self.v2.readiness(&self.engine, &self.host, session)
    }

    fn is_readable(&self, session: u64) -> bool {
        self.readiness(session) == Readiness::Now
    }

    /// Checks that estimate, poll and read agree in pre-copy; returns what they tell.
    fn agrees(&mut self, session: u64) -> (PrecopyInfo, Readiness) {
        let info = self.info(session).unwrap();
        let readiness = self.readiness(session);
        let has_bytes = match self
            .v2
            .stage(&mut self.engine, &self.host, session)
            .unwrap()
        {
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
        self.v2.data_size(&self.engine, &self.host)
    }

    /// Checks that a file's session is over for good.
    fn is_dead(&mut self, session: u64) {
        for _ in 0..2 {
            let (v2, engine, host) = (&mut self.v2, &mut self.engine, &self.host);
            assert_eq!(v2.stage(engine, host, session), Err(ENODEV));
            assert_eq!(v2.consume(engine, host, session, 1), Err(ENODEV));
            assert_eq!(v2.write(engine, host, session, &[1]), Err(ENODEV));
            assert!(self.is_readable(session));
            // Outside of the pre-copy states the uAPI demands another errno.
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
