// SPDX-License-Identifier: GPL-2.0-only

//! A device whose hardware is reset before it is.

use crate::common::{write_all, Fake, Host, Op};
use kernel::error::{code::*, Error, Result};
use migration::{
    engine::{Cause, Engine, HardwareReset, Protocol},
    protocols::{region_2018::state::DeviceState, window::Progress, Migratable, MigrationRegion},
    state::State,
};
use std::cell::RefCell;

const V2: Protocol = Protocol::V2;

thread_local! {
    /// Why the hardware was reset, and what the next reset of it does.
    static CAUSES: RefCell<Vec<Cause>> = const { RefCell::new(Vec::new()) };
    static NEXT: RefCell<Option<HardwareReset>> = const { RefCell::new(None) };
}

fn hardware(_host: &Host, cause: Cause) -> HardwareReset {
    CAUSES.with_borrow_mut(|causes| causes.push(cause));
    NEXT.take().unwrap_or(HardwareReset::NONE)
}

fn causes() -> Vec<Cause> {
    CAUSES.take()
}

fn does(done: bool, result: Result) {
    NEXT.replace(Some(HardwareReset { done, result }));
}

fn engine() -> (Engine<Fake>, Host) {
    causes();
    let engine = Engine::with_reset(Fake::filled(100, 30), hardware);
    (engine, Host::default())
}

#[test]
fn each_reset_has_its_cause() {
    let (mut engine, host) = engine();
    engine.open(&host).unwrap();
    assert_eq!(
        (causes(), host.called()),
        (vec![Cause::Open], vec![Op::Reset])
    );
    engine.reset(&host).unwrap();
    assert_eq!(
        (causes(), host.called()),
        (vec![Cause::User], vec![Op::Reset])
    );
    engine.reset_by_others(&host).unwrap();
    assert_eq!(
        (causes(), host.called()),
        (vec![Cause::Others], vec![Op::Reset])
    );
    engine.set_state(&host, V2, State::Resuming).unwrap();
    assert_eq!(causes(), [Cause::Load]);
    host.called();
    write_all(&mut engine, &host, &[0; 200]).unwrap_err();
    assert_eq!(causes(), [Cause::Load]);
    assert_eq!(host.called(), [Op::Reset, Op::Quiesce]);
    engine.close(&host).unwrap();
    assert_eq!(
        (causes(), host.called()),
        (vec![Cause::Close], vec![Op::Reset])
    );

    // A client that gives up a load.
    let mut object = Migratable::with_reset(Fake::filled(100, 30), hardware);
    let window = crate::common::Window::new(4096);
    for state in [DeviceState::Resume, DeviceState::Cancelled] {
        let bytes = state.number().to_le_bytes();
        let region = MigrationRegion::Region2018;
        let result = object.region_write(region, &host, &window, 0, &bytes);
        assert_eq!(result, Ok(Progress::Done));
        assert_eq!(causes(), [Cause::Load]);
        host.called();
    }
}

#[test]
fn a_hardware_that_was_not_reset_changes_nothing() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine();
        engine.set_state(&host, V2, *state).unwrap();
        host.called();
        does(false, Err(EAGAIN));
        assert_eq!(engine.reset(&host), Err(EAGAIN));
        assert_eq!(engine.state(), *state);
        // The device's own reset does not follow.
        assert_eq!(host.called(), []);
        engine.reset(&host).unwrap();
        assert_eq!(engine.state(), State::Running);
    }
    let (mut engine, host) = engine();
    engine.set_state(&host, V2, State::Stop).unwrap();
    does(false, Err(EAGAIN));
    assert_eq!(engine.set_state(&host, V2, State::Resuming), Err(EAGAIN));
    assert_eq!(engine.state(), State::Stop);
    engine.set_state(&host, V2, State::Resuming).unwrap();
}

/// What becomes of a device that was reset only in part.
fn is_in_error(engine: &mut Engine<Fake>, host: &Host, result: Result, error: Error) {
    assert_eq!(result, Err(error));
    assert_eq!(engine.state(), State::Error);
    assert_eq!(engine.session(), None);
    assert_eq!(engine.status().counters.last_error, Some(error));
    assert_eq!(engine.set_state(host, V2, State::Running), Err(EINVAL));
    engine.reset(host).unwrap();
    assert_eq!((engine.state(), engine.owner()), (State::Running, None));
    assert!(engine.device().running);
}

#[test]
fn a_device_that_was_reset_in_part_is_in_its_error_state() {
    for state in &State::ALL[1..] {
        let (mut engine, host) = engine();
        // The hardware's reset fails half-way.
        engine.set_state(&host, V2, *state).unwrap();
        does(true, Err(ENODEV));
        let result = engine.reset(&host);
        is_in_error(&mut engine, &host, result, ENODEV);
        // The hardware was reset, and the device cannot be.
        engine.set_state(&host, V2, *state).unwrap();
        does(true, Ok(()));
        host.fail(Op::Reset, EIO);
        let result = engine.reset(&host);
        is_in_error(&mut engine, &host, result, EIO);
    }
    let (mut engine, host) = engine();
    does(true, Err(ENODEV));
    let result = engine.set_state(&host, V2, State::Resuming);
    is_in_error(&mut engine, &host, result, ENODEV);
    // While a refused image is undone.
    engine.set_state(&host, V2, State::Resuming).unwrap();
    does(true, Err(ENODEV));
    write_all(&mut engine, &host, &[0; 200]).unwrap_err();
    assert_eq!(engine.state(), State::Error);
    engine.reset(&host).unwrap();
}
