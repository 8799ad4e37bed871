// SPDX-License-Identifier: GPL-2.0-only

//! Streams of v2 that are damaged, and the way back.

use std::fmt;

use rustix::io::Errno;

use super::client::{State, V2};
use crate::check::{ensure, fail, not_applicable, Check, Finding, Subject, Verdict};
use crate::error::explain;

const FOUND: &str = "vfio.h, RESUMING -> STOP: data found to be incomplete, inconsistent or \
    otherwise invalid must fail the SET_STATE ioctl; a driver that refuses it in write() has \
    found it; other drivers may not find it, so what is accepted is told for information; \
    VFIO_DEVICE_RESET recovers";

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
            Check::new(format!("v2-damage.{name}"), FOUND, move |subject| {
                load(subject, damage(V2::stream_of(subject)?))?.verdict()
            })
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
    /// A write was refused and the change of state was not. `taken` bytes were accepted, of `whole`
    /// in the stream.
    Forgotten {
        errno: Errno,
        taken: usize,
        whole: usize,
    },
    /// The stream was accepted.
    Accepted,
}

impl Outcome {
    /// Whether the device knew that the stream is bad and accepted it all the same.
    ///
    /// If write() fails for want of room or time, the device has found nothing. Nor is it at fault
    /// if write() refuses what follows a whole stream.
    fn is_known_bad(&self) -> bool {
        match self {
            Self::Forgotten {
                errno,
                taken,
                whole,
            } => {
                let other = [
                    Errno::NOMEM,
                    Errno::NOSPC,
                    Errno::FBIG,
                    Errno::INTR,
                    Errno::AGAIN,
                ];
                !other.contains(errno) && taken < whole
            }
            _ => false,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Refused => Ok(()),
            outcome if outcome.is_known_bad() => fail(outcome.to_string()),
            outcome => Err(Finding::Info(outcome.to_string())),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the stream is refused"),
            Self::Forgotten { errno, .. } => write!(
                f,
                "write() refuses the stream ({}), and RESUMING -> STOP succeeds all the same",
                explain(*errno)
            ),
            Self::Accepted => f.write_str("the stream is accepted"),
        }
    }
}

/// Loads a damaged stream; a reset must recover the device in any case.
fn load(subject: &Subject, damaged: Vec<u8>) -> Verdict<Outcome> {
    let stream = V2::stream_of(subject)?;
    if damaged == stream {
        return not_applicable("the damage leaves the stream as it is");
    }
    let v2 = V2::open(subject)?;
    let session = v2.begin(State::Resuming)?;
    let mut taken = 0;
    let written = session.fill_counting(&damaged, 1 << 20, &mut taken);
    let outcome = match (written, v2.try_set(State::Stop as u32)) {
        (_, Err(_)) => Outcome::Refused,
        (Err(errno), Ok(_)) => Outcome::Forgotten {
            errno,
            taken,
            // If the whole stream was taken, only what follows it was refused.
            whole: if damaged.starts_with(stream) {
                stream.len()
            } else {
                usize::MAX
            },
        },
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
    let stream = V2::stream_of(subject)?;
    let mut accepted = Vec::new();
    let places = 16.min(stream.len());
    for n in 0..places {
        let at = n * (stream.len() - 1) / places.max(2).saturating_sub(1);
        let mut damaged = stream.to_vec();
        damaged[at.min(stream.len() - 1)] ^= 1 << (n % 8);
        let outcome = load(subject, damaged)?;
        ensure(!outcome.is_known_bad(), || {
            format!("a flipped bit at byte {at}: {outcome}")
        })?;
        if !matches!(outcome, Outcome::Refused) {
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
    let mut bytes = vec![0; V2::stream_of(subject)?.len()];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    load(subject, bytes)?.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgotten(errno: Errno, taken: usize) -> Outcome {
        Outcome::Forgotten {
            errno,
            taken,
            whole: 10,
        }
    }

    #[test]
    fn what_was_refused_must_not_be_forgotten() {
        let verdict = forgotten(Errno::INVAL, 5).verdict();
        assert!(matches!(verdict, Err(Finding::Fail(text)) if text.contains("EINVAL")));
        for outcome in [
            forgotten(Errno::NOMEM, 5),
            forgotten(Errno::INTR, 0),
            // What comes after a whole stream.
            forgotten(Errno::INVAL, 10),
            Outcome::Accepted,
        ] {
            assert!(
                matches!(outcome.verdict(), Err(Finding::Info(_))),
                "{outcome}"
            );
        }
        assert_eq!(Outcome::Refused.verdict(), Ok(()));
    }
}
