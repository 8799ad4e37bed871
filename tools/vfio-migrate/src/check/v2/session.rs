// SPDX-License-Identifier: GPL-2.0-only

//! What a session of v2 outlives, what ends it, and what is left of it then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::client::{is_length, State, Stream, MIG_DATA_SIZE, STATES, V2};
use super::precopy::{drain_now, MEANWHILE, PATIENCE};
use crate::check::sum::Sum;
use crate::check::{
    ensure, fails, fails_with, not_applicable, succeeds, Check, Finding, Subject, Verdict,
};

const REFUSED: &str = "vfio.h, enum vfio_device_mig_state: arcs that are not permitted return \
    error; only leaving the saving group or RESUMING terminates a session, so a session goes on \
    while its device is still in the state, and its stream is whole";
const CLOSED: &str = "vfio.h, SET_STATE: the user is responsible to close this FD when it is \
    finished; the states are left by SET_STATE, with what was written";
const STALE: &str = "vfio.h, VFIO_MIG_GET_PRECOPY_INFO: valid only in PRE_COPY states, EINVAL \
    from any other; leaving them terminates the session, so its file tells nothing of a later one";
const READER: &str = "vfio.h (kernel), struct vfio_migration_ops: the FD reaches end of stream or \
    error whenever the FSM leaves a data transfer state, also for a thread that reads or polls \
    meanwhile";
const SIZE: &str = "vfio.h, struct vfio_device_feature_mig_data_size: an estimate of the data \
    length that will be required to complete stop copy; QEMU plans the downtime by it; a smaller \
    one is told for information";
const EFFECT: &str = "vfio.h, RESUMING -> STOP: the driver completes the incorporation of the \
    data into the device; the uAPI does not say what a device is after a load, so another stream \
    than the one loaded is told for information";

/// The checks of this area that are not about single calls.
pub fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    let of_sessions = |state: &State| state.is_saving() || *state == State::Resuming;
    for state in STATES.into_iter().filter(of_sessions) {
        checks.push(Check::new(
            format!("v2-session.survives-refusals-in-{state}"),
            REFUSED,
            move |subject| survives(subject, state),
        ));
        checks.push(Check::new(
            format!("v2-session.file-closed-in-{state}"),
            CLOSED,
            move |subject| closed_in(subject, state),
        ));
        if state.is_saving() {
            checks.push(Check::new(
                format!("v2-session.reader-when-{state}-is-left"),
                READER,
                move |subject| reader(subject, state),
            ));
        }
    }
    checks.push(Check::new(
        "v2-session.precopy-info-when-over",
        STALE,
        stale_info,
    ));
    checks.push(Check::new("v2-session.told-and-true-length", SIZE, length));
    checks.push(Check::new("v2-session.load-has-effect", EFFECT, effect));
    checks
}

/// Tries all transitions that are not permitted; the device must stay in its state.
fn be_refused(v2: &V2, state: State) -> Verdict {
    let stopped = state == State::StopCopy;
    let barred =
        |to: &State| *to == State::Error || !v2.supports(*to) || (stopped && to.is_precopy());
    // CAST: the enum is `repr(u32)`.
    let numbers = STATES.into_iter().filter(barred).map(|to| to as u32);
    for number in numbers.chain([8, u32::MAX]) {
        fails(v2.try_set(number), &format!("{state} -> {number:#x}"))?;
        v2.is_in(state, &format!("after going to {number:#x} was refused"))?;
    }
    Ok(())
}

/// Says of a failure that it came after transitions that were refused.
fn after_refusals<T>(verdict: Verdict<T>) -> Verdict<T> {
    verdict.map_err(|finding| match finding {
        Finding::Fail(text) => Finding::Fail(format!("after refused transitions: {text}")),
        other => other,
    })
}

fn survives(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    if state == State::Resuming {
        return survives_loading(subject, &v2);
    }
    v2.fits()?;
    let session = v2.begin(state)?;
    let mut stream = vec![0; 16];
    let found = match session.read(&mut stream) {
        Err(Errno::NOMSG) if state.is_precopy() => 0,
        found => succeeds(found, "reading the stream")?,
    };
    stream.truncate(found);
    be_refused(&v2, state)?;
    if state.is_precopy() {
        stream.extend(after_refusals(drain_now(&session))?.0);
        be_refused(&v2, state)?;
        after_refusals(v2.set(State::StopCopy))?;
        be_refused(&v2, State::StopCopy)?;
    }
    stream.extend(after_refusals(session.drain(1 << 20))?);
    be_refused(&v2, State::StopCopy)?;
    v2.set(State::Running)?;
    after_refusals(v2.load(&stream, 1 << 20))?;
    v2.save(1 << 20).map(drop)
}

fn survives_loading(subject: &Subject, v2: &V2) -> Verdict {
    let stream = V2::stream_of(subject)?;
    let session = v2.begin(State::Resuming)?;
    let (first, second) = stream.split_at(stream.len() / 2);
    for part in [first, second] {
        be_refused(v2, State::Resuming)?;
        let what = "writing half of the device's own stream";
        after_refusals(succeeds(session.fill(part, 1 << 20), what))?;
    }
    be_refused(v2, State::Resuming)?;
    after_refusals(v2.set(State::Running))?;
    v2.save(1 << 20).map(drop)
}

fn closed_in(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    // A resuming device has taken a whole stream by now.
    drop(v2.go(subject, state)?);
    v2.is_in(state, "after the data file was closed")?;
    if state.is_precopy() {
        v2.set(State::StopCopy)?;
    }
    v2.set(State::Stop)?;
    v2.set(State::Running)?;
    // The next stream is whole.
    let stream = v2.save(1 << 20)?;
    v2.load(&stream, 1 << 20)
}

/// How a reader's session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Met {
    /// The end, or an error.
    End,
    /// Data from a read that began after the session was over.
    Stale,
    /// Poll did not wake it.
    Sleep,
}

/// Reads until the session ends; waits with poll() while there is nothing.
fn read_on(session: &Stream, over: &AtomicBool) -> Verdict<Met> {
    loop {
        let was_over = over.load(Ordering::SeqCst);
        match session.read(&mut [0; 1]) {
            Ok(1..) if was_over => return Ok(Met::Stale),
            Ok(1..) => {}
            Err(Errno::NOMSG) if !was_over => {
                if !session.poll(PATIENCE)?.woken {
                    return Ok(Met::Sleep);
                }
            }
            Ok(0) | Err(_) => return Ok(Met::End),
        }
    }
}

fn reader(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    let session = v2.begin(state)?;
    let over = AtomicBool::new(false);
    let (met, moved) = thread::scope(|scope| {
        let reader = scope.spawn(|| read_on(&session, &over));
        thread::sleep(MEANWHILE);
        let moved = v2.set(State::Running);
        over.store(true, Ordering::SeqCst);
        (reader.join().expect("a reader does not panic"), moved)
    });
    moved?;
    let met = met?;
    ensure(met != Met::Stale, || {
        format!("read() returns data when {state} was left")
    })?;
    ensure(met != Met::Sleep, || {
        format!("poll() does not return when {state} is left")
    })?;
    let polled = session.poll(Duration::ZERO)?;
    ensure(polled.woken, || {
        "poll() says neither readable nor error when the session is over".into()
    })?;
    v2.save(1 << 20).map(drop)
}

fn stale_info(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    let what = |when: &str| format!("VFIO_MIG_GET_PRECOPY_INFO {when}");
    for reset in [false, true] {
        let old = v2.begin(State::PreCopy)?;
        if reset {
            v2.reset()?;
        } else {
            v2.set(State::Running)?;
        }
        let when = "of a session that is over, of a device that runs";
        fails_with(old.precopy_info(24), Errno::INVAL, &what(when))?;
        let new = v2.begin(State::PreCopy)?;
        let when = "of a session that is over, while another goes on";
        fails(old.precopy_info(24), &what(when))?;
        let found = new.precopy_info(24);
        succeeds(found, &what("of that other session"))?;
        v2.set(State::Running)?;
    }
    let old = v2.begin(State::PreCopy)?;
    drop(v2);
    let found = old.precopy_info(24);
    let _ = V2::open_fresh(subject)?.recover();
    fails(found, &what("of a device that was closed")).map(drop)
}

fn length(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.knows(MIG_DATA_SIZE, "MIG_DATA_SIZE, which came with Linux 6.2")?;
    let told = succeeds(v2.data_size(), "MIG_DATA_SIZE")?;
    if !is_length(told) {
        return not_applicable("MIG_DATA_SIZE is no length");
    }
    let sum = v2.begin(State::StopCopy)?.sum_up()?;
    covers(told, sum.length())
}

/// Reports an estimate that is too small.
fn covers(told: u64, length: u64) -> Verdict {
    if told < length {
        let text = format!("MIG_DATA_SIZE is {told}, and the stream has {length} bytes");
        return Err(Finding::Info(text));
    }
    Ok(())
}

fn effect(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let first = v2.save(1 << 20)?;
    let second = Sum::of(&v2.save(1 << 20)?);
    v2.load(&first, 1 << 20)?;
    let third = Sum::of(&v2.save(1 << 20)?);
    has_effect(&Sum::of(&first), &second, &third)
}

/// Compares two streams of a device with the one after the first of them was loaded.
fn has_effect(first: &Sum, second: &Sum, third: &Sum) -> Verdict {
    if first == third && first == second {
        return not_applicable(
            "the device gives the same stream each time, so whether a load has any effect does \
             not show",
        );
    }
    if first == third {
        return Ok(());
    }
    let text = if second == third {
        "saved, run and loaded, the device gives the stream that it gave before the load: it may \
         ignore what is written"
    } else {
        "the device gives another stream than the one that was loaded"
    };
    Err(Finding::Info(text.into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_estimate_that_is_too_small_is_told() {
        assert_eq!(covers(10, 10), Ok(()));
        assert!(matches!(covers(9, 10), Err(Finding::Info(_))));
    }

    #[test]
    fn a_driver_that_ignores_writes_is_told_where_it_shows() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Sum::of(bytes));
        assert_eq!(has_effect(&a, &b, &a), Ok(()));
        let told = |verdict: Verdict| match verdict {
            Err(Finding::Info(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(told(has_effect(&a, &b, &b)).contains("ignore"));
        assert!(told(has_effect(&a, &b, &c)).contains("another"));
        assert!(told(has_effect(&a, &a, &b)).contains("another"));
        let same = has_effect(&a, &a, &a);
        assert!(matches!(same, Err(Finding::NotApplicable(_))));
    }

    #[test]
    fn a_reader_tells_what_is_wrong() {
        let over = AtomicBool::new(true);
        let (file, peer) = UnixStream::pair().unwrap();
        let session = Stream::new(file.into());
        std::io::Write::write_all(&mut &peer, b"data").unwrap();
        assert_eq!(read_on(&session, &over), Ok(Met::Stale));
        over.store(false, Ordering::SeqCst);
        drop(peer);
        assert_eq!(read_on(&session, &over), Ok(Met::End));
    }
}
