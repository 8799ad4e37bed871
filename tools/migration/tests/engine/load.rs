// SPDX-License-Identifier: GPL-2.0-only

//! Taking an image, and refusing a wrong one.

use crate::{
    common::{write_all, Fake, Op, IDENTITY},
    engine, image, read_all, V2,
};
use kernel::error::code::*;
use migration::{
    image::{format::END_LEN, Reason},
    state::State,
};

#[test]
fn wrong_images_are_refused_and_the_device_is_reset_at_once() {
    let good = image(200, 64);
    let last = good.len() - 1;
    let end = good.len() - END_LEN;
    let foreign = {
        let mut device = Fake::filled(200, 64);
        device.identity.device = 0x11e9;
        let (mut engine, host) = engine(device);
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        read_all(&mut engine, &host, 100).unwrap()
    };
    let damaged = |at: usize| {
        let mut image = good.clone();
        image[at] ^= 4;
        image
    };
    let trailing = [&good[..], &[0]].concat();
    // A device with less memory has no place for the last section.
    for (bytes, memory, reason) in [
        (damaged(0), 200, Reason::Magic),
        (damaged(100), 200, Reason::PayloadChecksum),
        (damaged(last), 200, Reason::PayloadChecksum),
        (damaged(end + 8), 200, Reason::HeadChecksum),
        (trailing, 200, Reason::Trailing),
        (good.clone(), 199, Reason::Section(1, EINVAL)),
        (
            foreign,
            200,
            Reason::Device(migration::image::Identity {
                device: 0x11e9,
                ..IDENTITY
            }),
        ),
    ] {
        let (mut engine, host) = engine(Fake::filled(memory, 64));
        engine.set_state(&host, V2, State::Resuming).unwrap();
        host.called();
        assert_eq!(write_all(&mut engine, &host, &bytes), Err(EINVAL));
        assert_eq!(engine.last_refusal().unwrap().reason, reason);
        let calls = host.called();
        assert_eq!(calls[calls.len() - 2..], [Op::Reset, Op::Quiesce]);
        assert_eq!(engine.device().contents(), Fake::new(memory, 64).contents());
        assert!(!engine.device().running);

        // It stays refused, without touching the device again.
        assert_eq!(write_all(&mut engine, &host, &good), Err(EINVAL));
        assert_eq!(engine.set_state(&host, V2, State::Running), Err(EINVAL));
        assert_eq!(engine.state(), State::Resuming);
        assert!(host.called().is_empty());
        engine.reset(&host).unwrap();
        assert_eq!(engine.last_refusal().unwrap().reason, reason);
        engine.set_state(&host, V2, State::Resuming).unwrap();
        assert_eq!(engine.last_refusal(), None);
    }
}

#[test]
fn a_device_that_refuses_says_so_with_the_byte() {
    let good = image(200, 64);
    for (op, expected) in [
        (Op::Load, Reason::Section(1, ETIMEDOUT)),
        (Op::LoadEnd, Reason::Apply(ETIMEDOUT)),
    ] {
        let (mut engine, host) = engine(Fake::new(200, 64));
        engine.set_state(&host, V2, State::Resuming).unwrap();
        host.fail(op, ETIMEDOUT);
        let mut result = Ok(());
        for byte in &good {
            assert_eq!(result, Ok(()));
            result = write_all(&mut engine, &host, &[*byte]);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(ETIMEDOUT));
        assert_eq!(engine.last_refusal().unwrap().reason, expected);
    }
}

#[test]
fn an_interrupted_load_takes_nothing_of_its_piece() {
    let good = image(200, 64);
    for op in [Op::Load, Op::LoadEnd] {
        for skip in 0..if op == Op::Load { 5 } else { 1 } {
            for error in [EINTR, ERESTARTSYS] {
                for piece in [1, 5, 24, 64, 150, good.len()] {
                    let (mut engine, host) = engine(Fake::new(200, 64));
                    engine.set_state(&host, V2, State::Resuming).unwrap();
                    host.called();
                    host.fail.set(Some((op, skip, error)));
                    let (mut given, mut interrupted) = (0, 0);
                    while given < good.len() {
                        let end = good.len().min(given + piece);
                        let loaded = engine.counters().bytes_loaded;
                        assert_eq!(loaded, given as u64);
                        match engine.write(&host, &good[given..end]) {
                            Ok(taken) => given += taken.bytes,
                            Err(found) => {
                                assert_eq!(found, error);
                                interrupted += 1;
                                assert_eq!(engine.state(), State::Resuming);
                                assert_eq!(engine.last_refusal(), None);
                                assert_eq!(engine.counters().bytes_loaded, given as u64);
                                let result = engine.set_state(&host, V2, State::Running);
                                assert_eq!(result, Err(EINVAL), "bytes are missing");
                            }
                        }
                    }
                    // If the call took other bytes before, it returns their number instead.
                    assert!(interrupted <= 1 && (piece > 1 || interrupted == 1));
                    assert!(engine.is_loaded());
                    assert!(!host.called().contains(&Op::Reset));
                    engine.set_state(&host, V2, State::Running).unwrap();
                    assert_eq!(
                        engine.device().contents(),
                        Fake::filled(200, 64).contents(),
                        "{op:?} {skip} {piece}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_call_gives_the_device_one_section() {
    let good = image(200, 64);
    let (mut engine, host) = engine(Fake::new(200, 64));
    engine.set_state(&host, V2, State::Resuming).unwrap();
    host.called();
    let (mut given, mut calls) = (0, Vec::new());
    while given < good.len() {
        let taken = engine.write(&host, &good[given..]).unwrap();
        given += taken.bytes;
        let called = host.called();
        assert_eq!(called.len(), 1);
        assert!(taken.section);
        calls.extend(called);
    }
    let mut expected = vec![Op::Load; 5];
    expected.push(Op::LoadEnd);
    assert_eq!(calls, expected);
}

#[test]
fn a_refusal_whose_reset_fails() {
    let (mut engine, host) = engine(Fake::new(200, 64));
    engine.set_state(&host, V2, State::Resuming).unwrap();
    host.fail(Op::Reset, EIO);
    assert_eq!(write_all(&mut engine, &host, &[0; 16]), Err(EINVAL));
    assert_eq!(engine.state(), State::Resuming);
    engine.reset(&host).unwrap();

    engine.set_state(&host, V2, State::Resuming).unwrap();
    host.fail(Op::Reset, EIO);
    host.lose.set(true);
    assert_eq!(write_all(&mut engine, &host, &[0; 16]), Err(EINVAL));
    assert_eq!(engine.state(), State::Error);
    assert_eq!(write_all(&mut engine, &host, &[0; 16]), Err(EINVAL));
    host.lose.set(false);
    engine.reset(&host).unwrap();
    assert_eq!(engine.state(), State::Running);
}
