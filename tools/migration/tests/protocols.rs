// SPDX-License-Identifier: GPL-2.0-only

//! The three protocols side by side.

mod common;

use common::{Fake, Side};
use kernel::error::{code::*, Result};
use migration::{
    engine::Protocol,
    protocols::{
        region_2018::{layout::Field, state::DeviceState},
        v2::Found,
        MigrationRegion,
    },
    state::State,
};

const MEMORY: usize = 200;
const CHUNK: usize = 64;

/// Offsets in the v1 header.
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
    let (v2, engine) = side.object.v2();
    v2.set_state(engine, &side.host, target)
}

fn v2_drain(side: &mut Side) -> Vec<u8> {
    let session = side.object.engine().session().unwrap();
    let mut all = Vec::new();
    let (v2, engine) = side.object.v2();
    while let Ok(Found::Bytes(bytes)) = v2.stage(engine, &side.host, session) {
        let bytes = bytes.to_vec();
        v2.consume(engine, &side.host, session, bytes.len())
            .unwrap();
        all.extend(bytes);
    }
    all
}

fn image() -> Vec<u8> {
    let mut side = Side::new(Fake::filled(MEMORY, CHUNK), 4096);
    v2_set(&mut side, State::StopCopy).unwrap();
    v2_drain(&mut side)
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
                let (v2, engine) = side.object.v2();
                rest = &rest[v2.write(engine, &side.host, session, rest).unwrap()..];
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
            // The same in the other direction.
            leave(&mut source, from).unwrap();
            let image = save(&mut target, to, false);
            load(&mut source, from, &image);
            assert_eq!(target.device().contents(), source.device().contents());
        }
    }
}

/// The states other than running that a protocol can bring the device to.
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
                        let (v2, engine) = side.object.v2();
                        assert_eq!(v2.stage(engine, &side.host, session), Err(ENODEV));
                        assert_eq!(v2.write(engine, &side.host, session, &[0]), Err(ENODEV));
                    }
                }
                assert!(side.host.called().is_empty(), "{what}");
                assert_eq!(side.object.engine().status(), before, "{what}");
                assert_eq!(side.device().contents(), contents);

                // After a reset the other protocol can have the device.
                side.object.engine_mut().reset(&side.host).unwrap();
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
