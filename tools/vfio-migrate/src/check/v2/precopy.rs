// SPDX-License-Identifier: GPL-2.0-only

//! Pre-copy of v2: amounts left and the temporary end of the stream.

use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::client::{State, Stream, V2};
use crate::check::{
    ensure, fail, fails, fails_with, not_applicable, succeeds, Check, Finding, Subject, Verdict,
    HELD,
};
use crate::error::explain;

const NOMSG: &str = "vfio.h, struct vfio_precopy_info: read() at the temporary end of stream \
    should return ENOMSG; it is reached when initial_bytes and dirty_bytes are zero";
const NOT_STOPPED: &str = "vfio.h, struct vfio_precopy_info: ENOMSG may not be returned in \
    STOP_COPY, where the end is read() always returning 0 and poll always returning readable";
const STATES: &str = "vfio.h, VFIO_MIG_GET_PRECOPY_INFO: valid only in PRE_COPY states, EINVAL \
    from any other; mandatory with VFIO_MIGRATION_PRE_COPY";
const ARGSZ: &str = "vfio.h, struct vfio_precopy_info: argsz covers the structure";
const INITIAL: &str =
    "vfio.h, struct vfio_precopy_info: initial_bytes should be non-zero at first \
    and decreases as migration data is read";
const DIRTY: &str = "vfio.h, struct vfio_precopy_info: dirty_bytes starts at zero and may \
    increase as the internal device state is modified, which a device that runs may do at once: \
    another number is told for information";
const POLL: &str = "vfio.h, struct vfio_precopy_info: at the temporary end userspace can wait for \
    more data, which may never come, by using poll";
const WAKES: &str = "vfio.h, struct vfio_precopy_info: once in STOP_COPY poll always returns \
    readable, also to a thread that has waited since the temporary end";
const FLAGS: &str =
    "vfio.h, struct vfio_precopy_info, and vfio_check_precopy_ioctl() of the kernel: \
    after VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 was set flags are output, of which \
    VFIO_PRECOPY_INFO_REINIT alone is defined";
const WHOLE: &str = "vfio.h: moving between the states of the saving group does not affect the \
    FD; the stream taken over all of them can be loaded";

/// `VFIO_PRECOPY_INFO_REINIT`
const REINIT: u32 = 1;
/// How often a running device may have something new to read.
const ROUNDS: usize = 20;
/// How long to wait for a call that must end.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long another thread has to reach its wait.
pub const MEANWHILE: Duration = Duration::from_millis(50);

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new("v2-precopy.temporary-end", NOMSG, |subject| {
            temporary_end(subject, State::PreCopy)
        }),
        Check::new("v2-precopy.temporary-end-in-p2p", NOMSG, |subject| {
            temporary_end(subject, State::PreCopyP2p)
        }),
        Check::new("v2-precopy.poll-at-temporary-end", POLL, poll_at_end),
        Check::new("v2-precopy.poll-wakes-when-stopped", WAKES, poll_wakes),
        Check::new("v2-precopy.no-enomsg-when-stopped", NOT_STOPPED, no_enomsg),
        Check::new("v2-precopy.info-states", STATES, info_states),
        Check::new("v2-precopy.info-argsz", ARGSZ, info_argsz),
        Check::new("v2-precopy.initial-bytes", INITIAL, initial_bytes),
        Check::new("v2-precopy.dirty-bytes", DIRTY, dirty_bytes),
        Check::new("v2-precopy.info-flags", FLAGS, info_flags),
        Check::new("v2-precopy.whole-stream", WHOLE, |subject| {
            whole(subject, &[State::PreCopy, State::StopCopy])
        }),
        Check::new("v2-precopy.whole-stream-by-p2p", WHOLE, |subject| {
            use State::{PreCopy, PreCopyP2p, StopCopy};
            whole(
                subject,
                &[PreCopy, PreCopyP2p, PreCopy, PreCopyP2p, StopCopy],
            )
        }),
        Check::new("v2-precopy.nothing-read-before-stop", WHOLE, nothing_read),
    ]
}

/// How a device that runs says that there is nothing to read now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// By ENOMSG.
    Temporary,
    /// By 0, which is the end of the whole stream; only `temporary-end` judges that.
    Permanent,
}

/// Reads until there is nothing to read now; returns the bytes and which end was told.
pub fn drain_now(session: &Stream) -> Verdict<(Vec<u8>, End)> {
    let mut stream = Vec::new();
    let end = hand_on_now(session, |bytes| {
        stream.extend_from_slice(bytes);
        ensure(stream.len() < HELD, || "pre-copy does not end".into())
    })?;
    Ok((stream, end))
}

/// Does the same but hands the bytes on.
pub fn hand_on_now(session: &Stream, mut take: impl FnMut(&[u8]) -> Verdict) -> Verdict<End> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        match session.read(&mut bytes) {
            Ok(0) => return Ok(End::Permanent),
            Ok(n) => take(&bytes[..n])?,
            Err(Errno::NOMSG) => return Ok(End::Temporary),
            Err(errno) => return fail(format!("read() fails with {}", explain(errno))),
        }
    }
}

/// Does the same but only counts the bytes.
fn skip_now(session: &Stream) -> Verdict<(u64, End)> {
    let mut length = 0_u64;
    let end = hand_on_now(session, |bytes| {
        // CAST: widening.
        length = length.saturating_add(bytes.len() as u64);
        Ok(())
    })?;
    Ok((length, end))
}

fn temporary_end(subject: &Subject, state: State) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(state)?;
    let session = v2.begin(state)?;
    let mut told = (0, 0);
    for round in 0..ROUNDS {
        let (length, end) = skip_now(&session)?;
        ensure(end == End::Temporary, || {
            format!("read() returns 0, the end of the whole stream, in {state}")
        })?;
        ensure(round == 0 || length != 0, || {
            format!(
                "there are {} initial and {} dirty bytes, and read() returns none",
                told.0, told.1
            )
        })?;
        told = succeeds(session.precopy_info(24), "VFIO_MIG_GET_PRECOPY_INFO")?;
        if told == (0, 0) {
            return Ok(());
        }
    }
    // The device runs, so there may be new bytes each time.
    Err(Finding::Info(format!(
        "there was more to read after each of {ROUNDS} temporary ends"
    )))
}

/// Reads to a temporary end at which poll() reports nothing; `None` if the running device has
/// something new each time.
fn at_temporary_end(v2: &V2) -> Verdict<Option<Stream>> {
    v2.needs(State::PreCopy)?;
    let session = v2.begin(State::PreCopy)?;
    for _ in 0..ROUNDS {
        if skip_now(&session)?.1 == End::Permanent {
            return not_applicable("the device has no temporary end: read() returns 0 there");
        }
        if !session.poll(Duration::ZERO)?.woken {
            return Ok(Some(session));
        }
        let found = session.read(&mut [0; 1]);
        ensure(found != Err(Errno::NOMSG), || {
            "poll says readable at the temporary end, and read() fails with ENOMSG".into()
        })?;
        succeeds(found, "reading after poll said readable")?;
    }
    Ok(None)
}

fn poll_at_end(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    match at_temporary_end(&v2)? {
        Some(_) => Ok(()),
        None => Err(Finding::Info(format!(
            "there was more to read after each of {ROUNDS} temporary ends"
        ))),
    }
}

fn poll_wakes(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    let Some(session) = at_temporary_end(&v2)? else {
        return not_applicable("the device has something new all the time");
    };
    let (polled, moved) = thread::scope(|scope| {
        let waiter = scope.spawn(|| session.poll(PATIENCE));
        thread::sleep(MEANWHILE);
        let moved = v2.set(State::StopCopy);
        (waiter.join().expect("a waiter does not panic"), moved)
    });
    moved?;
    ensure(polled?.readable, || {
        "poll does not wake when the device goes to STOP_COPY".into()
    })
}

fn no_enomsg(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    let session = v2.begin(State::PreCopy)?;
    skip_now(&session)?;
    v2.set(State::StopCopy)?;
    session.sum_up()?;
    session.is_at_its_end()
}

fn info_states(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    for state in v2.states().collect::<Vec<_>>() {
        let Some(session) = v2.go(subject, state)? else {
            continue;
        };
        let what = format!("VFIO_MIG_GET_PRECOPY_INFO in {state}");
        if state.is_precopy() {
            succeeds(session.precopy_info(24), &what)?;
        } else if state == State::Resuming {
            // The file of a resuming session need not know the request at all.
            fails(session.precopy_info(24), &what)?;
        } else {
            fails_with(session.precopy_info(24), Errno::INVAL, &what)?;
        }
        v2.reset()?;
    }
    let session = v2.begin(State::PreCopy)?;
    v2.set(State::StopCopy)?;
    let what = "VFIO_MIG_GET_PRECOPY_INFO in STOP_COPY after PRE_COPY";
    fails_with(session.precopy_info(24), Errno::INVAL, what)
}

fn info_argsz(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    let session = v2.begin(State::PreCopy)?;
    for argsz in [0, 4, 8, 16, 23] {
        let what = format!("argsz {argsz}");
        fails_with(session.precopy_info(argsz), Errno::INVAL, &what)?;
    }
    for argsz in [24, 25, 64] {
        succeeds(session.precopy_info(argsz), &format!("argsz {argsz}"))?;
    }
    Ok(())
}

fn initial_bytes(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    let session = v2.begin(State::PreCopy)?;
    let info = || succeeds(session.precopy_info(24), "VFIO_MIG_GET_PRECOPY_INFO");
    let (before, _) = info()?;
    if before == 0 {
        return Err(Finding::Info("initial_bytes is 0 at first".into()));
    }
    skip_now(&session)?;
    let (after, _) = info()?;
    ensure(after < before, || {
        format!("initial_bytes is {before} at first and {after} when all was read")
    })
}

fn dirty_bytes(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    let session = v2.begin(State::PreCopy)?;
    let (_, dirty) = succeeds(session.precopy_info(24), "VFIO_MIG_GET_PRECOPY_INFO")?;
    if dirty != 0 {
        let text = format!("dirty_bytes is {dirty} before anything was read");
        return Err(Finding::Info(text));
    }
    Ok(())
}

fn info_flags(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.needs(State::PreCopy)?;
    v2.opt_in_to_precopy_info_v2()?;
    let session = v2.begin(State::PreCopy)?;
    for given in [0, REINIT, u32::MAX] {
        let what = format!("VFIO_MIG_GET_PRECOPY_INFO with flags {given:#x}");
        let info = session.precopy_info_with_flags(24, given);
        let (found, _, _) = succeeds(info, &what)?;
        ensure(found & !REINIT == 0, || {
            format!("{what} returns the flags {found:#x}")
        })?;
    }
    Ok(())
}

fn whole(subject: &Subject, states: &[State]) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.fits()?;
    for state in states {
        v2.needs(*state)?;
    }
    let session = v2.begin(states[0])?;
    let (mut stream, _) = drain_now(&session)?;
    for state in &states[1..] {
        v2.set(*state)?;
        if *state != State::StopCopy {
            stream.extend(drain_now(&session)?.0);
        }
    }
    stream.extend(session.drain(1 << 20)?);
    v2.set(State::Running)?;
    v2.load(&stream, 1 << 20)
}

fn nothing_read(subject: &Subject) -> Verdict {
    let v2 = V2::open(subject)?;
    v2.fits()?;
    v2.needs(State::PreCopy)?;
    let session = v2.begin(State::PreCopy)?;
    v2.set(State::StopCopy)?;
    let stream = session.drain(1 << 20)?;
    v2.set(State::Running)?;
    v2.load(&stream, 1 << 20)
}
