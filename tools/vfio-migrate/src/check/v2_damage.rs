// SPDX-License-Identifier: GPL-2.0-only

//! Streams of v2 that are damaged, and the way back.

use super::v2::{State, V2};
use super::{fail, not_applicable, Check, Finding, Subject, Verdict};

const INCOMPLETE: &str = "vfio.h, RESUMING -> STOP: if the user provided data is found to be \
    incomplete, the migration driver must fail the SET_STATE ioctl; VFIO_DEVICE_RESET recovers";
const INVALID: &str = "vfio.h, RESUMING -> STOP: data found to be inconsistent or otherwise \
    invalid must fail the SET_STATE ioctl; a driver may not find it, so a stream that is accepted is told \
    for information";

/// Most bytes of an oversized stream.
const OVERSIZED: usize = 1 << 24;

type Damage = fn(&[u8]) -> Vec<u8>;

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let damages: [(&str, &str, Damage); 9] = [
        ("empty", INCOMPLETE, |_| Vec::new()),
        ("first-byte-only", INCOMPLETE, |stream| stream[..1].to_vec()),
        ("first-half-only", INCOMPLETE, |stream| {
            stream[..stream.len() / 2].to_vec()
        }),
        ("last-byte-missing", INCOMPLETE, |stream| {
            stream[..stream.len() - 1].to_vec()
        }),
        ("first-byte-missing", INCOMPLETE, |stream| {
            stream[1..].to_vec()
        }),
        ("trailing-byte", INVALID, |stream| [stream, &[0]].concat()),
        ("repeated", INVALID, |stream| [stream, stream].concat()),
        ("oversized", INVALID, |stream| {
            let mut stream = stream.to_vec();
            stream.resize(stream.len() + OVERSIZED, 0xa5);
            stream
        }),
        ("halves-exchanged", INVALID, |stream| {
            let (first, second) = stream.split_at(stream.len() / 2);
            [second, first].concat()
        }),
    ];
    let mut checks: Vec<Check> = damages
        .into_iter()
        .map(|(name, rule, damage)| {
            Check::new(format!("v2-damage.{name}"), rule, move |subject| {
                if !accepts(subject, damage(subject.stream()?))? {
                    Ok(())
                } else if rule == INCOMPLETE {
                    fail("the stream is accepted")
                } else {
                    Err(Finding::Info("the stream is accepted".into()))
                }
            })
        })
        .collect();
    checks.push(Check::new("v2-damage.bit-flips", INVALID, bit_flips));
    checks.push(Check::new("v2-damage.random", INVALID, random));
    checks
}

/// Loads a stream and says whether it was taken; whatever happened, a reset must recover.
fn accepts(subject: &Subject, damaged: Vec<u8>) -> Verdict<bool> {
    let stream = subject.stream()?;
    if damaged == stream {
        return not_applicable("the damage leaves the stream as it is");
    }
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::Resuming)?;
    let taken = session.fill(&damaged, 1 << 20).is_ok() && v2.try_set(State::Stop as u32).is_ok();
    if !taken {
        let found = v2.state()?;
        if !matches!(found, State::Resuming | State::Error | State::Stop) {
            return fail(format!(
                "after a damaged stream was refused the state is {found}"
            ));
        }
    }
    drop(session);
    v2.reset()?;
    v2.load(stream, 1 << 20)?;
    Ok(taken)
}

fn bit_flips(subject: &Subject) -> Verdict {
    let stream = subject.stream()?;
    let mut accepted = Vec::new();
    let places = 16.min(stream.len());
    for n in 0..places {
        let at = n * (stream.len() - 1) / places.max(2).saturating_sub(1);
        let mut damaged = stream.to_vec();
        damaged[at.min(stream.len() - 1)] ^= 1 << (n % 8);
        if accepts(subject, damaged)? {
            accepted.push(at.to_string());
        }
    }
    if accepted.is_empty() {
        return Ok(());
    }
    Err(Finding::Info(format!(
        "{} of {places} flipped bits are accepted, at the bytes {}",
        accepted.len(),
        accepted.join(", ")
    )))
}

fn random(subject: &Subject) -> Verdict {
    let mut bytes = vec![0; subject.stream()?.len()];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    if accepts(subject, bytes)? {
        return Err(Finding::Info("random bytes are accepted as a state".into()));
    }
    Ok(())
}
