// SPDX-License-Identifier: GPL-2.0-only

//! All pairs of states of v2.

use rustix::io::Errno;

use super::client::{State, Stream, STATES, V2};
use crate::check::{
    ensure, fail, fails, not_applicable, succeeds, Check, Finding, Subject, Verdict,
};

const PAIR: &str = "vfio.h, enum vfio_device_mig_state: the arcs and combination transitions; a \
    data_fd is returned on entering RESUMING or the saving group, and only then; leaving either \
    terminates the session, moving within the saving group does not affect it; STOP_COPY -> \
    PRE_COPY and any -> ERROR are not permitted; unsupported states cannot be used; ERROR is left \
    by VFIO_DEVICE_RESET alone";
const PATH: &str = "vfio.h: every path out of RESUMING begins with RESUMING -> STOP; data that is \
    found to be incomplete must fail the SET_STATE ioctl; a driver may not find it, so an empty \
    stream that is accepted is told for information";
const NUMBER: &str = "vfio.h, struct vfio_device_feature_mig_state: device_state is one of enum \
    vfio_device_mig_state";

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for from in STATES {
        for to in STATES {
            checks.push(Check::new(
                format!("v2-states.{from}-to-{to}"),
                PAIR,
                move |subject| pair(subject, from, to),
            ));
        }
    }
    for to in STATES {
        if !matches!(to, State::Error | State::Resuming) {
            checks.push(Check::new(
                format!("v2-states.nothing-written-then-{to}"),
                PATH,
                move |subject| nothing_written(subject, to),
            ));
        }
    }
    checks.push(Check::new(
        "v2-states.unknown-numbers",
        NUMBER,
        unknown_numbers,
    ));
    checks
}

fn pair(subject: &Subject, from: State, to: State) -> Verdict {
    let v2 = V2::open(subject)?;
    if from == State::Error {
        return from_error(&v2, to);
    }
    v2.needs(from)?;
    let session = v2.go(subject, from)?;
    v2.is_in(from, "on the way")?;
    let what = format!("{from} -> {to}");
    // CAST: the enum is `repr(u32)`.
    let result = v2.try_set(to as u32);
    let permitted =
        to != State::Error && v2.supports(to) && !(from == State::StopCopy && to.is_precopy());
    if !permitted {
        fails(result, &what)?;
        return v2.is_in(from, "after a transition that is not permitted");
    }
    let moved = succeeds(result, &what)?;
    v2.is_in(to, "after it was set")?;
    let begins =
        (to.is_saving() && !from.is_saving()) || (to == State::Resuming && from != State::Resuming);
    ensure(begins == moved.file.is_some(), || {
        format!("{what} returns data_fd {}", moved.data_fd)
    })?;
    ensure(begins || moved.data_fd == -1, || {
        format!("{what} returns data_fd {} instead of -1", moved.data_fd)
    })?;
    match session {
        Some(session) if from.is_saving() => saving_session(&session, to),
        Some(session) if to != State::Resuming => {
            let what = "writing to a data_fd whose session is over";
            fails(session.write(&[0]), what).map(drop)
        }
        _ => Ok(()),
    }
}

/// Checks the session that began before the transition and was not read from.
fn saving_session(session: &Stream, to: State) -> Verdict {
    let found = session.read(&mut [0; 64]);
    if to.is_saving() {
        let what = "reading on after a move within the saving group";
        return match found {
            // The device decides whether it hands out anything before it stops.
            Err(Errno::NOMSG) if to.is_precopy() => Ok(()),
            Ok(0) => fail(format!("{what} returns 0, as if the stream were over")),
            found => succeeds(found, what).map(drop),
        };
    }
    ensure(!matches!(found, Ok(1..)), || {
        "reading a data_fd whose session is over returns data".into()
    })
}

fn from_error(v2: &V2, to: State) -> Verdict {
    // Loading an empty stream may take the device to ERROR; nothing else here does.
    let _session = v2.begin(State::Resuming)?;
    let _ = v2.try_set(State::Stop as u32);
    if v2.state()? != State::Error {
        return not_applicable("the device does not go to ERROR when an empty stream is loaded");
    }
    fails(v2.try_set(to as u32), &format!("ERROR -> {to}"))?;
    v2.is_in(State::Error, "after leaving ERROR was refused")?;
    v2.reset()
}

fn nothing_written(subject: &Subject, to: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(to)?;
    let _session = v2.begin(State::Resuming)?;
    let accepted = v2.try_set(to as u32).is_ok();
    let found = v2.state()?;
    v2.reset()?;
    if accepted {
        ensure(found == to, || {
            format!("after it was accepted the state is {found}")
        })?;
        return Err(Finding::Info("it is accepted".into()));
    }
    ensure(matches!(found, State::Resuming | State::Error), || {
        format!("after it was refused the state is {found}")
    })
}

fn unknown_numbers(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let states: Vec<State> = v2.states().collect();
    for from in states {
        let _session = v2.go(subject, from)?;
        for number in [8, 9, 0xff, 1 << 16, 1 << 31, u32::MAX] {
            fails(v2.try_set(number), &format!("{from} -> {number:#x}"))?;
            v2.is_in(from, "after an unknown state")?;
        }
        v2.reset()?;
    }
    Ok(())
}
