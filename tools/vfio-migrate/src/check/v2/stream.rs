// SPDX-License-Identifier: GPL-2.0-only

//! The data file of v2.

use std::os::fd::AsFd;
use std::thread;

use super::client::{State, Stream, V2};
use crate::check::{ensure, fail, fails, succeeds, Check, Finding, Subject, Verdict};
use crate::sys;

const END: &str = "vfio.h, struct vfio_precopy_info: in STOP_COPY the end of the stream is read() \
    always returning 0 and poll always returning readable; ENOMSG may not be returned";
const SEEK: &str = "vfio.h, SET_STATE: data flows over the FD by read() and write() as an opaque \
    stream of bytes; nothing is said of pread, pwrite and lseek, so what is not refused is told \
    for information";
const DIRECTION: &str = "vfio.h: a saving session is read, a resuming one is written";
const SEGMENTS: &str = "vfio.h, SET_STATE: the user is not required to preserve buffer \
    segmentation when writing the data stream";
const READERS: &str = "vfio.h: end of stream on the FD indicates that the entire device state has \
    been transferred, to whichever reader; another length than that of one reader is told for \
    information";
const WRITERS: &str = "vfio.h: the device must not go wrong, whatever is written; \
    VFIO_DEVICE_RESET recovers it";
const ENDS: &str = "vfio.h (kernel), struct vfio_migration_ops: the FD reaches end of stream or \
    error whenever the FSM leaves a data transfer state or before close_device() returns";
const CLOSED: &str = "vfio.h (kernel), struct vfio_migration_ops: the FD reaches end of stream or \
    error before close_device() returns; QEMU takes a device that it opened to be RUNNING";

const SIZES: [usize; 10] = [1, 2, 3, 7, 64, 4095, 4096, 4097, 1 << 16, 1 << 20];

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("v2-stream.end", END, end),
        Check::new("v2-stream.no-position", SEEK, no_position),
        Check::new("v2-stream.direction", DIRECTION, direction),
        Check::new("v2-stream.empty-calls", DIRECTION, empty_calls),
        Check::new("v2-stream.concurrent-readers", READERS, readers),
        Check::new("v2-stream.concurrent-writers", WRITERS, writers),
        Check::new("v2-stream.after-reset", ENDS, |subject| {
            saving_ends(subject, V2::reset)
        }),
        Check::new(
            "v2-stream.after-reset-resuming",
            ENDS,
            resuming_ends_by_reset,
        ),
        Check::new("v2-stream.after-close", CLOSED, after_close),
        Check::new("v2-stream.close-before-the-end", ENDS, close_before_the_end),
        Check::new("v2-stream.second-session", ENDS, second_session),
    ];
    for size in SIZES {
        checks.push(Check::new(
            format!("v2-stream.written-by-{size}"),
            SEGMENTS,
            move |subject| V2::open(subject)?.load(V2::stream_of(subject)?, size),
        ));
        checks.push(Check::new(
            format!("v2-stream.read-by-{size}"),
            SEGMENTS,
            move |subject| {
                let v2 = V2::open(subject)?;
                let stream = v2.save(size)?;
                v2.load(&stream, 1 << 20)
            },
        ));
    }
    checks
}

fn end(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::StopCopy)?;
    let sum = session.sum_up()?;
    ensure(sum.length() != 0, || "the stream is empty".into())?;
    session.is_at_its_end()
}

fn no_position(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    for state in [State::StopCopy, State::Resuming] {
        let session = v2.begin(state)?;
        let fd = session.fd().as_fd();
        let mut taken = Vec::new();
        if sys::seek(fd, 0).is_ok() {
            taken.push("lseek");
        }
        if state == State::StopCopy && sys::pread_some(fd, 0, &mut [0; 8]).is_ok() {
            taken.push("pread");
        }
        if state == State::Resuming && sys::pwrite_some(fd, 0, &[0]).is_ok() {
            taken.push("pwrite");
        }
        if !taken.is_empty() {
            let text = format!("{} is not refused in {state}", taken.join(", "));
            return Err(Finding::Info(text));
        }
        v2.reset()?;
    }
    Ok(())
}

fn direction(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let saving = v2.begin(State::StopCopy)?;
    fails(saving.write(&[0]), "writing to a saving session")?;
    v2.reset()?;
    let resuming = v2.begin(State::Resuming)?;
    fails(resuming.read(&mut [0]), "reading from a resuming session").map(drop)
}

fn empty_calls(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.fits()?;
    let session = v2.begin(State::StopCopy)?;
    let found = succeeds(session.read(&mut []), "reading 0 bytes")?;
    ensure(found == 0, || format!("reading 0 bytes returns {found}"))?;
    let stream = session.drain(1 << 20)?;
    drop(session);
    v2.reset()?;
    let session = v2.begin(State::Resuming)?;
    let half = stream.len() / 2;
    for part in [&stream[..half], &[], &stream[half..], &[]] {
        if part.is_empty() {
            let found = succeeds(session.write(part), "writing 0 bytes")?;
            ensure(found == 0, || format!("writing 0 bytes returns {found}"))?;
        } else {
            succeeds(session.fill(part, 1 << 20), "writing half of the stream")?;
        }
    }
    v2.set(State::Running).map(drop)
}

fn readers(subject: &Subject) -> Verdict {
    let expected = V2::stream_of(subject)?.len();
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::StopCopy)?;
    let total = thread::scope(|scope| {
        let readers: Vec<_> = (0..4).map(|_| scope.spawn(|| session.drain(61))).collect();
        readers
            .into_iter()
            .map(|reader| Ok(reader.join().expect("a reader does not panic")?.len()))
            .sum::<Verdict<usize>>()
    })?;
    if total != expected {
        let text = format!("four readers got {total} bytes, one alone got {expected}");
        return Err(Finding::Info(text));
    }
    Ok(())
}

fn writers(subject: &Subject) -> Verdict {
    let stream = V2::stream_of(subject)?;
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::Resuming)?;
    thread::scope(|scope| {
        for part in stream.chunks(stream.len().div_ceil(4).max(1)) {
            // The order of the parts is open, so the device may refuse them.
            scope.spawn(|| session.fill(part, 53).is_ok());
        }
    });
    // It may refuse the load, too.
    let _ = v2.try_set(State::Stop as u32);
    drop(session);
    v2.reset()?;
    v2.load(stream, 1 << 20)
}

/// Ends a saving session in some way and looks at its file.
fn saving_ends(subject: &Subject, end: impl Fn(&V2) -> Verdict) -> Verdict {
    let v2 = V2::open(subject)?;
    for state in v2
        .states()
        .filter(|state| state.is_saving())
        .collect::<Vec<_>>()
    {
        let session = v2.begin(state)?;
        end(&v2)?;
        ensure(!matches!(session.read(&mut [0; 8]), Ok(1..)), || {
            format!("a session that was begun by {state} returns data when it is over")
        })?;
    }
    Ok(())
}

fn resuming_ends_by_reset(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::Resuming)?;
    v2.reset()?;
    let what = "writing to a session that was reset";
    fails(session.write(&[0]), what).map(drop)
}

fn after_close(subject: &Subject) -> Verdict {
    for state in [State::StopCopy, State::Resuming] {
        let v2 = V2::open(subject)?;
        let session = v2.begin(state)?;
        drop(v2);
        look_at_stale(&session, state, "after close")?;
        let again = V2::open_fresh(subject)?;
        again.is_in(State::Running, "after close and open")?;
        let _other = again.begin(state)?;
        look_at_stale(&session, state, "while the next owner has a session")?;
    }
    Ok(())
}

fn look_at_stale(session: &Stream, state: State, when: &str) -> Verdict {
    if state.is_saving() {
        return ensure(!matches!(session.read(&mut [0; 8]), Ok(1..)), || {
            format!("the data_fd of a saving session returns data {when}")
        });
    }
    match session.write(&[0]) {
        Ok(_) => fail(format!(
            "the data_fd of a resuming session takes data {when}"
        )),
        Err(_) => Ok(()),
    }
}

fn close_before_the_end(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::StopCopy)?;
    succeeds(session.read(&mut [0]), "reading a byte")?;
    drop(session);
    v2.set(State::Running)?;
    // The next stream is whole.
    let stream = v2.save(1 << 20)?;
    v2.load(&stream, 1 << 20)
}

fn second_session(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.fits()?;
    let first = v2.begin(State::StopCopy)?;
    v2.set(State::Stop)?;
    let second = v2.begin(State::StopCopy)?;
    look_at_stale(&first, State::StopCopy, "while a second session runs")?;
    let stream = second.drain(1 << 20)?;
    v2.set(State::Running)?;
    v2.load(&stream, 1 << 20).map_err(|finding| match finding {
        Finding::Fail(text) => Finding::Fail(format!("the second session's stream: {text}")),
        other => other,
    })
}
