// SPDX-License-Identifier: GPL-2.0-only

//! Reset, close and races.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::v2::{State, Stream, STATES, V2};
use super::{Check, Subject, Verdict};

const RESET: &str = "vfio.h, enum vfio_device_mig_state: VFIO_DEVICE_RESET returns the \
    device_state to RUNNING";
const CLOSE: &str = "QEMU, which takes a device that it opened to be RUNNING, whoever had it \
    before";
const RACE: &str = "vfio.h: no asynchronous device state transitions outside of SET_STATE and \
    VFIO_DEVICE_RESET, and each is complete when it returns; whatever the order, a reset that \
    comes last leaves a device that migrates";
const AGAIN: &str = "vfio.h: the transitions back to RUNNING lose nothing; a device can be saved \
    and loaded again and again";

/// How long threads race.
const RACING: Duration = Duration::from_millis(1500);
/// Number of refusals in a row after which a racing thread resets the device.
const STUCK: u32 = 8;

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for state in STATES.into_iter().filter(|state| *state != State::Error) {
        checks.push(Check::new(
            format!("lifetime.reset-in-{state}"),
            RESET,
            move |subject| reset_in(subject, state),
        ));
        checks.push(Check::new(
            format!("lifetime.close-in-{state}"),
            CLOSE,
            move |subject| close_in(subject, state),
        ));
    }
    checks.push(Check::new(
        "lifetime.reset-races-set-state",
        RACE,
        race_reset,
    ));
    checks.push(Check::new(
        "lifetime.set-state-races-set-state",
        RACE,
        race_set,
    ));
    checks.push(Check::new("lifetime.reset-races-stream", RACE, race_stream));
    checks.push(Check::new("lifetime.again-and-again", AGAIN, again));
    checks
}

fn migrates(subject: &Subject, v2: &V2) -> Verdict {
    v2.load(V2::stream_of(subject)?, 1 << 20)?;
    v2.save(1 << 20).map(drop)
}

fn reset_in(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    let _session = v2.go(subject, state)?;
    v2.reset()?;
    migrates(subject, &v2)
}

fn close_in(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    let session = v2.go(subject, state)?;
    drop(v2);
    let v2 = V2::open_fresh(subject)?;
    let found = v2.is_in(State::Running, "after close and open");
    drop(session);
    // No later check may see what the close has left.
    v2.recover()?;
    found?;
    migrates(subject, &v2)
}

/// Sets random states until the time is over; a refusal is no failure.
fn wander(v2: &V2, stream: &[u8], until: Instant, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut refused = 0;
    while Instant::now() < until {
        // Dropping the result closes the session.
        match v2.try_set(random.u32(1..8)) {
            Ok(moved) => {
                refused = 0;
                if v2.state() == Ok(State::Resuming) {
                    let _ = moved
                        .file
                        .map(|file| Stream::new(file).fill(stream, 1 << 20));
                }
            }
            Err(_) => refused += 1,
        }
        // From ERROR, and from RESUMING without its stream, only a reset leads on.
        if refused == STUCK {
            let _ = v2.open.device.raw_reset();
            refused = 0;
        }
    }
}

fn race_reset(subject: &Subject) -> Verdict {
    let stream = V2::stream_of(subject)?;
    let v2 = V2::open(subject)?;
    let until = Instant::now() + RACING;
    thread::scope(|scope| {
        scope.spawn(|| wander(&v2, stream, until, 1));
        while Instant::now() < until {
            let _ = v2.open.device.raw_reset();
            thread::sleep(Duration::from_millis(3));
        }
    });
    v2.reset()?;
    migrates(subject, &v2)
}

fn race_set(subject: &Subject) -> Verdict {
    let stream = V2::stream_of(subject)?;
    let v2 = V2::open(subject)?;
    let until = Instant::now() + RACING;
    thread::scope(|scope| {
        for seed in 0..3 {
            let v2 = &v2;
            scope.spawn(move || wander(v2, stream, until, seed));
        }
    });
    v2.state()?;
    v2.reset()?;
    migrates(subject, &v2)
}

fn race_stream(subject: &Subject) -> Verdict {
    let stream = V2::stream_of(subject)?;
    let v2 = V2::open(subject)?;
    for _ in 0..5 {
        let session = v2.begin(State::Resuming)?;
        interrupted(
            &v2,
            || session.fill(&stream[..1], 1).is_ok(),
            || session.fill(&stream[1..], 16).is_ok(),
        )?;
        let session = v2.begin(State::StopCopy)?;
        interrupted(
            &v2,
            || session.read(&mut [0; 16]).is_ok(),
            || session.drain(16).is_ok(),
        )?;
    }
    migrates(subject, &v2)
}

/// Resets the device while another thread goes on with what it has begun.
fn interrupted(
    v2: &V2,
    begin: impl Fn() -> bool + Send,
    go_on: impl Fn() -> bool + Send,
) -> Verdict {
    let (begun, begins) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let _ = begun.send(begin());
            go_on()
        });
        let _ = begins.recv();
        let _ = v2.open.device.raw_reset();
    });
    v2.reset()
}

fn again(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    for _ in 0..10 {
        let stream = v2.save(1 << 20)?;
        v2.load(&stream, 1 << 20)?;
    }
    Ok(())
}
