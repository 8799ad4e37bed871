// SPDX-License-Identifier: GPL-2.0-only

//! Streams of v2 that are damaged, and the way back.

use std::fmt;

use super::v2::{State, V2};
use super::{ensure, not_applicable, Check, Finding, Subject, Verdict};

const FOUND: &str = "vfio.h, RESUMING -> STOP: data found to be incomplete, inconsistent or \
    otherwise invalid must fail the SET_STATE ioctl; a driver may not find it, so what is accepted \
    is told for information; VFIO_DEVICE_RESET recovers";

/// Most bytes of an oversized stream.
const OVERSIZED: usize = 1 << 24;

type Damage = fn(&[u8]) -> Vec<u8>;

/// The checks of this area.
pub fn checks() -> Vec<Check> {
    let damages: [(&str, Damage); 9] = [
        ("empty", |_| Vec::new()),
        ("first-byte-only", |stream| stream[..1].to_vec()),
        ("first-half-only", |stream| {
            stream[..stream.len() / 2].to_vec()
        }),
        ("last-byte-missing", |stream| {
            stream[..stream.len() - 1].to_vec()
        }),
        ("first-byte-missing", |stream| stream[1..].to_vec()),
        ("trailing-byte", |stream| [stream, &[0]].concat()),
        ("repeated", |stream| [stream, stream].concat()),
        ("oversized", |stream| {
            let mut stream = stream.to_vec();
            stream.resize(stream.len() + OVERSIZED, 0xa5);
            stream
        }),
        ("halves-exchanged", |stream| {
            let (first, second) = stream.split_at(stream.len() / 2);
            [second, first].concat()
        }),
    ];
    let mut checks: Vec<Check> = damages
        .into_iter()
        .map(|(name, damage)| {
            Check::new(
                format!("v2-damage.{name}"),
                FOUND,
                move |subject| match load(subject, damage(subject.stream()?))? {
                    Outcome::Refused => Ok(()),
                    outcome => Err(Finding::Info(outcome.to_string())),
                },
            )
        })
        .collect();
    checks.push(Check::new("v2-damage.bit-flips", FOUND, bit_flips));
    checks.push(Check::new("v2-damage.random", FOUND, random));
    checks
}

/// What became of a damaged stream.
enum Outcome {
    /// The change of state was refused.
    Refused,
    /// Writing it was refused, and the change of state was not.
    Forgotten,
    /// It was taken.
    Accepted,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the stream is refused",
            Self::Forgotten => {
                "write() refuses the stream, and RESUMING -> STOP succeeds all the same"
            }
            Self::Accepted => "the stream is accepted",
        })
    }
}

/// Loads a stream; whatever happens, a reset must recover.
fn load(subject: &Subject, damaged: Vec<u8>) -> Verdict<Outcome> {
    let stream = subject.stream()?;
    if damaged == stream {
        return not_applicable("the damage leaves the stream as it is");
    }
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::Resuming)?;
    let written = session.fill(&damaged, 1 << 20);
    let outcome = match (written, v2.try_set(State::Stop as u32)) {
        (_, Err(_)) => Outcome::Refused,
        (Err(_), Ok(_)) => Outcome::Forgotten,
        (Ok(()), Ok(_)) => Outcome::Accepted,
    };
    let found = v2.state()?;
    drop(session);
    v2.reset()?;
    v2.load(stream, 1 << 20)?;
    let expected: &[State] = match outcome {
        Outcome::Refused => &[State::Resuming, State::Error],
        _ => &[State::Stop],
    };
    ensure(expected.contains(&found), || {
        format!("{outcome}, and then the state is {found}")
    })?;
    Ok(outcome)
}

fn bit_flips(subject: &Subject) -> Verdict {
    let stream = subject.stream()?;
    let mut accepted = Vec::new();
    let places = 16.min(stream.len());
    for n in 0..places {
        let at = n * (stream.len() - 1) / places.max(2).saturating_sub(1);
        let mut damaged = stream.to_vec();
        damaged[at.min(stream.len() - 1)] ^= 1 << (n % 8);
        if !matches!(load(subject, damaged)?, Outcome::Refused) {
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
    match load(subject, bytes)? {
        Outcome::Refused => Ok(()),
        outcome => Err(Finding::Info(format!("random bytes: {outcome}"))),
    }
}
