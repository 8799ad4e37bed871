// SPDX-License-Identifier: GPL-2.0-only

//! Migrates one device to a second as a VMM does: both are open, and no state is held in between.

use super::sum::Sum;
use super::v2::{hand_on_now, State, Stream, V2};
use super::{ensure, succeeds, Check, Finding, Subject, Verdict};

const STREAM: &str = "vfio.h, STOP -> RESUMING: the data stream fed into the data_fd should be \
    taken from the data transfer output of a single FD during saving from a compatible device; if \
    the target then gives something else, that is told for information";
const PRECOPY: &str = "vfio.h, the saving group: one session over PRE_COPY and STOP_COPY; QEMU \
    feeds the target while the source runs, and takes the source back when the target fails";

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new("second-device.stopped", STREAM, |subject| {
            let (source, target) = open(subject)?;
            let sum = carry(&source, &target, &[State::StopCopy])?;
            ends_up_with(&target, &sum)
        }),
        Check::new("second-device.by-precopy", PRECOPY, |subject| {
            let (source, target) = open(subject)?;
            carry(&source, &target, &[State::PreCopy, State::StopCopy])?;
            both_go_on(&source, &target)
        }),
        Check::new("second-device.by-p2p", PRECOPY, |subject| {
            use State::{PreCopy, PreCopyP2p, StopCopy};
            let (source, target) = open(subject)?;
            carry(&source, &target, &[PreCopy, PreCopyP2p, StopCopy])?;
            both_go_on(&source, &target)
        }),
        Check::new("second-device.and-back", STREAM, |subject| {
            let (source, target) = open(subject)?;
            let there = carry(&source, &target, &[State::StopCopy])?;
            source.reset()?;
            let back = carry(&target, &source, &[State::StopCopy])?;
            same(&there, &back)
        }),
        Check::new("second-device.target-fails", PRECOPY, target_fails),
    ]
}

/// Opens both devices and makes them run.
fn open(subject: &Subject) -> Verdict<(V2, V2)> {
    let second = subject.second()?;
    let source = V2::open(subject)?;
    let target = V2::open_fresh(&second)?;
    target.recover()?;
    Ok((source, target))
}

/// Passes what a saving session gives to a resuming one, and sums it up.
fn hand_over<'a>(to: &'a Stream, sum: &'a mut Sum) -> impl FnMut(&[u8]) -> Verdict + 'a {
    move |bytes| {
        sum.update(bytes);
        succeeds(to.fill(bytes, 1 << 20), "writing to the second device")
    }
}

/// Migrates through these states of the source, until the target runs.
fn carry(source: &V2, target: &V2, states: &[State]) -> Verdict<Sum> {
    for state in states {
        source.needs(*state)?;
    }
    let from = source.begin(states[0])?;
    let to = target.begin(State::Resuming)?;
    let mut sum = Sum::default();
    for state in states {
        if *state != states[0] {
            source.set(*state)?;
        }
        if state.is_precopy() {
            hand_on_now(&from, hand_over(&to, &mut sum))?;
        } else {
            from.hand_on(1 << 20, hand_over(&to, &mut sum))?;
        }
    }
    ensure(sum.length() != 0, || "the stream is empty".into())?;
    drop(to);
    target.set(State::Running)?;
    target.is_in(State::Running, "after the load of the second device")?;
    source.set(State::Stop)?;
    Ok(sum)
}

/// Demands that both devices run and migrate.
fn both_go_on(source: &V2, target: &V2) -> Verdict {
    for device in [source, target] {
        device.set(State::Running)?;
        device.begin(State::StopCopy)?.sum_up()?;
        device.set(State::Running)?;
    }
    Ok(())
}

/// Compares what the target gives with what it got.
fn ends_up_with(target: &V2, sum: &Sum) -> Verdict {
    let found = target.begin(State::StopCopy)?.sum_up()?;
    same(sum, &found)
}

fn same(first: &Sum, second: &Sum) -> Verdict {
    if first != second {
        return Err(Finding::Info(format!(
            "the first device gave {first}, and the second one {second}"
        )));
    }
    Ok(())
}

fn target_fails(subject: &Subject) -> Verdict {
    let (source, target) = open(subject)?;
    source.needs(State::PreCopy)?;
    let from = source.begin(State::PreCopy)?;
    let to = target.begin(State::Resuming)?;
    let mut sum = Sum::default();
    hand_on_now(&from, hand_over(&to, &mut sum))?;
    target.reset()?;
    drop(from);
    source.set(State::Running)?;
    // Neither device has lost anything.
    carry(&source, &target, &[State::StopCopy])?;
    both_go_on(&source, &target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn all_is_handed_over_and_summed_up() {
        let pair = || UnixStream::pair().unwrap();
        let ((source, source_peer), (target, mut target_peer)) = (pair(), pair());
        let bytes: Vec<u8> = (0..100).collect();
        std::io::Write::write_all(&mut &source_peer, &bytes).unwrap();
        drop(source_peer);
        let (from, to) = (Stream::new(source.into()), Stream::new(target.into()));
        let mut sum = Sum::default();
        from.hand_on(7, hand_over(&to, &mut sum)).unwrap();
        drop(to);
        let mut found = Vec::new();
        std::io::Read::read_to_end(&mut target_peer, &mut found).unwrap();
        assert_eq!(found, bytes);
        assert!(same(&sum, &Sum::of(&bytes)).is_ok());
        assert!(matches!(
            same(&sum, &Sum::of(b"other")),
            Err(Finding::Info(_))
        ));
    }
}
