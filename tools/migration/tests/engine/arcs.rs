// SPDX-License-Identifier: GPL-2.0-only

//! Moving the device from state to state, and what fails on the way.

use crate::{
    common::{read, register, write_all, Fake, Op, OPS},
    engine, image, V2,
};
use kernel::error::code::*;
use migration::{
    engine::Protocol,
    image::Reason,
    state::{next, State},
};

#[test]
fn every_arc_from_every_state() {
    for from in &State::ALL[1..] {
        for to in State::ALL {
            let (mut engine, host) = engine(Fake::filled(100, 30));
            engine.set_state(&host, V2, *from).unwrap();
            assert_eq!(engine.state(), *from);
            let running = matches!(*from, State::Running | State::PreCopy);
            assert_eq!(engine.device().running, running);
            let result = engine.set_state(&host, V2, to);
            match next(*from, to) {
                // The image is not complete.
                Ok(_) if *from == State::Resuming && to != State::Resuming => {
                    assert_eq!(result, Err(EINVAL));
                    assert_eq!(engine.state(), State::Resuming);
                    assert_eq!(engine.last_refusal().unwrap().reason, Reason::Truncated);
                }
                Ok(_) => {
                    assert_eq!(result, Ok(()), "{from} -> {to}");
                    assert_eq!(engine.state(), to);
                }
                Err(error) => {
                    assert_eq!(result, Err(error));
                    assert_eq!(engine.state(), *from);
                }
            }
            let free = engine.state() == State::Running;
            assert_eq!(engine.owner(), (!free).then_some(V2));
        }
    }
}

#[test]
fn every_operation_failing_on_every_way() {
    for lose in [false, true] {
        for op in OPS {
            for skip in 0..3 {
                for from in &State::ALL[1..] {
                    for to in &State::ALL[1..] {
                        one_failure(lose, op, skip, *from, *to);
                    }
                }
            }
        }
    }
}

fn one_failure(lose: bool, op: Op, skip: u32, from: State, to: State) {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    engine.set_state(&host, V2, from).unwrap();
    if from == State::Resuming {
        write_all(&mut engine, &host, &image(100, 30)).unwrap();
    }
    host.called();
    host.fail.set(Some((op, skip, ETIMEDOUT)));
    host.lose.set(lose);
    let result = engine.set_state(&host, V2, to);
    let failed = host.fail.get().is_none();
    if !failed {
        assert_eq!(result.is_ok(), next(from, to).is_ok());
        return;
    }
    assert_eq!(result, Err(ETIMEDOUT));
    assert_eq!(engine.status().counters.last_error, Some(ETIMEDOUT));
    if lose {
        assert_eq!(engine.state(), State::Error);
        assert_eq!(engine.set_state(&host, V2, State::Running), Err(EINVAL));
        assert_eq!(read(&mut engine, &host, &mut [0; 4]), Err(EINVAL));
    } else {
        // A state on the way.
        let mut on_the_way = vec![from];
        while on_the_way.last() != Some(&to) {
            on_the_way.push(next(*on_the_way.last().unwrap(), to).unwrap());
        }
        assert!(
            on_the_way.contains(&engine.state()),
            "{from} -> {to}: {}",
            engine.state()
        );
        assert_ne!(engine.state(), to);
        // From there the second try works.
        assert_eq!(
            engine.set_state(&host, V2, to),
            Ok(()),
            "{from} -> {to} by {op:?}"
        );
    }
    host.lose.set(false);
    engine.reset(&host).unwrap();
    assert_eq!(engine.state(), State::Running);
    assert_eq!(engine.owner(), None);
    assert!(engine.device().running);
}

#[test]
fn a_device_that_runs_after_a_reset_is_quiesced_before_it_is_used() {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    engine.set_state(&host, V2, State::Stop).unwrap();
    host.called();
    host.fail(Op::Quiesce, EINTR);
    assert_eq!(engine.set_state(&host, V2, State::Resuming), Err(EINTR));
    assert_eq!(engine.state(), State::Stop);
    assert_eq!(host.called(), [Op::Reset, Op::Quiesce]);
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(host.called(), [Op::Quiesce, Op::SaveBegin]);
    engine.set_state(&host, V2, State::Running).unwrap();
    assert_eq!(host.called(), [Op::Resume]);

    // The same on the other way to a stopped device.
    engine.set_state(&host, V2, State::Stop).unwrap();
    host.fail(Op::Quiesce, EINTR);
    assert_eq!(engine.set_state(&host, V2, State::Resuming), Err(EINTR));
    engine.set_state(&host, V2, State::PreCopyP2p).unwrap();
    host.called();
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    assert_eq!(host.called(), [Op::Quiesce]);
}

#[test]
fn one_protocol_at_a_time() {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    let others = [Protocol::Region2018, Protocol::RegionV1];
    engine.set_state(&host, V2, State::PreCopy).unwrap();
    for other in others {
        for to in State::ALL {
            assert_eq!(engine.set_state(&host, other, to), Err(EBUSY));
        }
        assert_eq!(engine.claim(other), Err(EBUSY));
        engine.release(other);
        assert_eq!(engine.owner(), Some(V2));
    }
    engine.set_state(&host, V2, State::Running).unwrap();
    assert_eq!(engine.owner(), None);

    engine.claim(Protocol::Region2018).unwrap();
    assert_eq!(engine.set_state(&host, V2, State::PreCopy), Err(EBUSY));
    // A claim outlives a failed start, and a reset ends it.
    host.fail(Op::SaveBegin, EIO);
    let start = engine.set_state(&host, Protocol::Region2018, State::PreCopy);
    assert_eq!(start, Err(EIO));
    assert_eq!(engine.owner(), Some(Protocol::Region2018));
    engine.reset(&host).unwrap();
    assert_eq!(engine.owner(), None);
    // Without a claim a failed start leaves no trace.
    host.fail(Op::Quiesce, EIO);
    assert_eq!(engine.set_state(&host, V2, State::Stop), Err(EIO));
    assert_eq!(engine.owner(), None);
}

#[test]
fn registers_of_a_stopped_device_are_not_written() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine(Fake::filled(100, 30));
        engine.set_state(&host, V2, *state).unwrap();
        let runs = matches!(state, State::Running | State::PreCopy);
        let expected = if runs { Ok(()) } else { Err(EBUSY) };
        assert_eq!(engine.write_register(&host, register(0), 5), expected);
        assert!(engine.read_register(&host, register(0)).is_ok());
        assert_eq!(engine.read_register(&host, register(0x4000)), Err(EINVAL));
    }
}

#[test]
fn transfers_in_the_wrong_state() {
    let (mut engine, host) = engine(Fake::filled(100, 30));
    for state in &State::ALL[1..] {
        engine.reset(&host).unwrap();
        engine.set_state(&host, V2, *state).unwrap();
        assert_eq!(
            read(&mut engine, &host, &mut [0; 9]).is_ok(),
            state.is_saving()
        );
        let writes = *state == State::Resuming;
        assert_eq!(write_all(&mut engine, &host, b"RVFIO").is_ok(), writes);
    }
}
