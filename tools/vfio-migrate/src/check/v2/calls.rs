// SPDX-License-Identifier: GPL-2.0-only

//! Calls on the data file of v2 that end early: by a fault, without waiting, by a signal.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::client::{State, Stream, V2};
use super::precopy::PATIENCE;
use crate::check::{ensure, fail, succeeds, Check, Finding, Subject, Verdict, HELD};
use crate::error::explain;
use crate::sys::{self, page_size, Torn};

const FAULT: &str = "vfio.h: end of stream on the FD indicates that the entire device state has \
    been transferred, also to a reader whose read() has failed with EFAULT";
const WRITE_FAULT: &str = "vfio.h, SET_STATE: data flows over the FD by write(); it says nothing \
    of a write() that fails with EFAULT, so a stream that is refused afterwards is told for \
    information";
const NONBLOCK: &str = "vfio.h, SET_STATE: data flows over the FD by read() and write(), as with \
    any file: with O_NONBLOCK they may fail with EAGAIN until poll reports the file ready, and \
    the whole stream comes";
const SIGNALS: &str = "vfio.h: end of stream on the FD indicates that the entire device state has \
    been transferred, and what was written is loaded; also for a caller that a signal interrupts \
    and that calls again; SET_STATE that fails leaves the state or another on the path";

/// How long signals come and how far apart they are, so that some interrupt a call midway.
const VOLLEY: Duration = Duration::from_millis(400);
const APART: Duration = Duration::from_micros(100);
/// How long a writer waits after EAGAIN.
const PAUSE: Duration = Duration::from_millis(3);
/// Most calls in a row that may end with EINTR or EAGAIN.
const TRIES: usize = 10_000;

/// The checks of this area that are about single calls.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("v2-session.fault-reading", FAULT, fault_reading),
        Check::new("v2-session.fault-writing", WRITE_FAULT, fault_writing),
        Check::new(
            "v2-session.nonblocking-written",
            NONBLOCK,
            write_nonblocking,
        ),
        Check::new("v2-session.signals", SIGNALS, signals),
    ];
    for state in [State::StopCopy, State::PreCopy] {
        checks.push(Check::new(
            format!("v2-session.nonblocking-read-from-{state}"),
            NONBLOCK,
            move |subject| read_nonblocking(subject, state),
        ));
    }
    checks
}

/// The numbers of accessible bytes in the memory that a call is given.
fn there() -> [usize; 4] {
    [0, 1, 100, page_size()]
}

/// Returns how many bytes a call took that may have met a fault.
fn taken(result: Result<usize, Errno>, there: usize, what: &str) -> Verdict<usize> {
    match result {
        Err(Errno::FAULT) => Ok(0),
        Ok(count) if count <= there => Ok(count),
        Ok(count) => fail(format!(
            "{what} returns {count} although only {there} bytes of memory can be accessed"
        )),
        Err(errno) => fail(format!(
            "{what} with memory that is not there fails with {} instead of EFAULT",
            explain(errno)
        )),
    }
}

fn fault_reading(subject: &Subject) -> Verdict {
    let expected = V2::stream_of(subject)?.len();
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::StopCopy)?;
    let torn = succeeds(Torn::new(), "allocating memory")?;
    let mut stream = Vec::new();
    for there in there() {
        let (result, bytes) = torn.read(session.fd().as_fd(), there);
        stream.extend_from_slice(&bytes[..taken(result, there, "read()")?]);
    }
    stream.extend(session.drain(1 << 20)?);
    v2.set(State::Running)?;
    v2.load(&stream, 1 << 20).map_err(|finding| match finding {
        Finding::Fail(text) => Finding::Fail(format!(
            "of {} bytes, of which others than those that met a fault got {expected}: {text}",
            stream.len()
        )),
        other => other,
    })?;
    if stream.len() != expected {
        return Err(Finding::Info(format!(
            "a reader that met faults got {} bytes, another got {expected}",
            stream.len()
        )));
    }
    Ok(())
}

fn fault_writing(subject: &Subject) -> Verdict {
    let stream = V2::stream_of(subject)?;
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::Resuming)?;
    let torn = succeeds(Torn::new(), "allocating memory")?;
    let mut left = stream;
    for there in there() {
        // The lost bytes count as part of the stream: a write beyond its end may fail for other
        // reasons.
        let Some(gone @ 1..) = left.len().checked_sub(there) else {
            break;
        };
        let gone = gone.min(page_size());
        let result = torn.write(session.fd().as_fd(), &left[..there], gone);
        left = &left[taken(result, there, "write()")?..];
    }
    let loaded = session.fill(left, 1 << 20).is_ok() && v2.set(State::Running).is_ok();
    if loaded {
        v2.is_in(State::Running, "after a load")?;
        return v2.save(1 << 20).map(drop);
    }
    v2.reset()?;
    v2.load(stream, 1 << 20)?;
    Err(Finding::Info(
        "a stream of which a write() failed with EFAULT and was repeated is refused".into(),
    ))
}

/// Repeats a call until it does not end with EAGAIN, and polls in between.
fn waits<T>(
    session: &Stream,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Verdict<Result<T, Errno>> {
    for _ in 0..TRIES {
        match call() {
            Err(Errno::AGAIN) => {
                ensure(session.poll(PATIENCE)?.woken, || {
                    format!("EAGAIN, and poll() does not wake within {PATIENCE:?}")
                })?;
            }
            result => return Ok(result),
        }
    }
    fail(format!(
        "EAGAIN {TRIES} times, though poll() says that it is over"
    ))
}

fn read_nonblocking(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    v2.fits()?;
    let session = v2.begin(state)?;
    let flag = sys::do_not_block(session.fd().as_fd());
    succeeds(flag, "setting O_NONBLOCK")?;
    let (mut stream, mut bytes) = (Vec::new(), vec![0; 4096]);
    let mut stopped = state == State::StopCopy;
    loop {
        match waits(&session, || session.read(&mut bytes))? {
            Ok(0) if stopped => break,
            // Another check judges a device whose pre-copy ends with 0.
            Ok(0) | Err(Errno::NOMSG) if !stopped => {
                v2.set(State::StopCopy)?;
                stopped = true;
            }
            found => {
                let count = succeeds(found, "reading with O_NONBLOCK")?;
                stream.extend_from_slice(&bytes[..count]);
            }
        }
        ensure(stream.len() <= HELD, || "the stream has no end".into())?;
    }
    v2.set(State::Running)?;
    v2.load(&stream, 1 << 20)
}

fn write_nonblocking(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::Resuming)?;
    let flag = sys::do_not_block(session.fd().as_fd());
    succeeds(flag, "setting O_NONBLOCK")?;
    let mut left = V2::stream_of(subject)?;
    let mut tries = 0;
    while !left.is_empty() {
        match session.write(&left[..left.len().min(4096)]) {
            // No rule says what poll() tells of a file that is written.
            Err(Errno::AGAIN) if tries < TRIES => {
                tries += 1;
                thread::sleep(PAUSE);
            }
            found => {
                let count = succeeds(found, "writing with O_NONBLOCK")?;
                ensure(count != 0, || "write() returns 0".into())?;
                left = &left[count..];
            }
        }
    }
    v2.set(State::Running)?;
    v2.is_in(State::Running, "after a load")
}

/// Repeats a call until no signal interrupts it.
fn patient<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..TRIES {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::INTR)
}

/// Repeats `run` while signals interrupt the process's first thread.
///
/// The signals stop after a time, so a call that cannot complete under them completes then.
fn under_signals(mut run: impl FnMut() -> Verdict) -> Verdict {
    succeeds(sys::catch_interruptions(), "catching a signal")?;
    let until = Instant::now() + VOLLEY;
    thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                let _ = sys::interrupt();
                thread::sleep(APART);
            }
        });
        while Instant::now() < until {
            run()?;
        }
        Ok(())
    })
}

/// Changes the state, in as many tries as it takes.
fn move_patiently(v2: &V2, state: State) -> Verdict<Option<Stream>> {
    // CAST: the enum is `repr(u32)`.
    let moved = patient(|| v2.try_set(state as u32));
    let what = format!("going to {state} while signals come");
    Ok(succeeds(moved, &what)?.file.map(Stream::new))
}

/// Begins a session, in as many tries as it takes.
fn begin_patiently(v2: &V2, state: State) -> Verdict<Stream> {
    match move_patiently(v2, state)? {
        Some(session) => Ok(session),
        None => fail(format!(
            "going to {state} returns no data_fd while signals come"
        )),
    }
}

fn signals(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.fits()?;
    under_signals(|| {
        let stream = save_patiently(&v2)?;
        load_patiently(&v2, &stream)
    })?;
    v2.is_in(State::Running, "after saves and loads")?;
    v2.save(1 << 20).map(drop)
}

fn save_patiently(v2: &V2) -> Verdict<Vec<u8>> {
    let session = begin_patiently(v2, State::StopCopy)?;
    let (mut stream, mut bytes) = (Vec::new(), vec![0; 16]);
    loop {
        let count = patient(|| session.read(&mut bytes));
        match succeeds(count, "reading while signals come")? {
            0 => break,
            count => stream.extend_from_slice(&bytes[..count]),
        }
        if stream.len() >= 1 << 16 {
            bytes.resize(1 << 20, 0);
        }
        ensure(stream.len() <= HELD, || "the stream has no end".into())?;
    }
    move_patiently(v2, State::Running)?;
    Ok(stream)
}

fn load_patiently(v2: &V2, stream: &[u8]) -> Verdict {
    let session = begin_patiently(v2, State::Resuming)?;
    let mut left = stream;
    while !left.is_empty() {
        let most = if stream.len() > 1 << 16 { 1 << 20 } else { 64 };
        let count = patient(|| session.write(&left[..left.len().min(most)]));
        let count = succeeds(count, "writing while signals come")?;
        ensure(count != 0, || "write() returns 0".into())?;
        left = &left[count..];
    }
    move_patiently(v2, State::Running).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_met_a_fault_took_what_it_says() {
        assert_eq!(taken(Err(Errno::FAULT), 5, "it"), Ok(0));
        assert_eq!(taken(Ok(5), 5, "it"), Ok(5));
        assert!(taken(Ok(6), 5, "it").is_err());
        assert!(taken(Err(Errno::IO), 5, "it").is_err());
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut calls = 0;
        let found = patient(|| {
            calls += 1;
            if calls < 3 {
                Err(Errno::INTR)
            } else {
                Ok(calls)
            }
        });
        assert_eq!(found, Ok(3));
        assert_eq!(patient::<()>(|| Err(Errno::INTR)), Err(Errno::INTR));
        assert_eq!(patient::<()>(|| Err(Errno::IO)), Err(Errno::IO));
    }
}
