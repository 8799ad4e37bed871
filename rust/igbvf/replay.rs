// SPDX-License-Identifier: GPL-2.0-only

//! Makes the PF of a target know of the virtual function what the source's PF knows.
//!
//! The requests of the [`History`] are sent again, and the verdicts must be those of the source.
//! Otherwise the administrator of the target has set the function up differently, and the guest
//! would get other packets than before.

use core::fmt;

use kernel::prelude::*;

use crate::{
    history::{
        Exchange,
        History, //
    },
    mailbox::{
        Address,
        Answer,
        Kind,
        Request,
        Verdict, //
    }, //
};

/// The physical function.
pub(crate) trait PhysicalFunction {
    /// Sends a request and waits for the answer; `ETIMEDOUT` if there is none.
    fn request(&mut self, request: &Request) -> Result<(Verdict, Answer)>;

    /// Resets the virtual function, with CTRL.RST.
    fn reset(&mut self) -> Result;
}

/// Why a target does not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Difference {
    /// The PF does not answer.
    Silent(Kind, Error),
    /// The PFs give different verdicts on the same request.
    Verdict {
        /// What the request is about.
        request: Request,
        /// The verdict on the source.
        source: Verdict,
        /// The verdict on the target.
        target: Verdict,
    },
    /// The administrators have given the function different addresses.
    Address {
        /// The address on the source.
        source: Address,
        /// The address on the target.
        target: Address,
    },
}

impl Difference {
    /// Returns the error of a load that this ends.
    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Silent(_, error) => *error,
            Self::Verdict { .. } | Self::Address { .. } => EINVAL,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(kind, _) => write!(to, "the PF does not answer {kind}"),
            Self::Address { source, target } => write!(
                to,
                "the administrator's MAC address is {source} on the source and {target} here"
            ),
            Self::Verdict {
                request,
                source,
                target,
            } => {
                let kind = request.kind();
                match kind {
                    Kind::Mac | Kind::FilterAdd => write!(to, "{kind} {}", request.address())?,
                    Kind::Vlan => write!(to, "{kind} {}", request.vlan())?,
                    _ => write!(to, "{kind}")?,
                }
                write!(to, " was {source} on the source and is {target} here")?;
                to.write_str(match kind {
                    Kind::Reset => ": only one of the PFs has a MAC address for the function",
                    Kind::Mac | Kind::FilterAdd => ": compare the PFs' MAC address and trust",
                    Kind::Vlan => ": compare the PFs' VLAN of the function",
                    Kind::Lpe => ": compare the PFs' MTU",
                    _ => "",
                })
            }
        }
    }
}

/// Sends the requests of `history` to a PF whose virtual function was just reset.
pub(crate) fn replay(history: &History, pf: &mut impl PhysicalFunction) -> Result<(), Difference> {
    let Some(first) = history.exchanges().first() else {
        return Ok(());
    };
    // The PF takes no other request before this one.
    let is_reset = first.request.kind() == Kind::Reset;
    if !is_reset {
        let request = Request::reset();
        pf.request(&request)
            .map_err(|error| Difference::Silent(Kind::Reset, error))?;
    }
    for exchange in history.exchanges() {
        let (verdict, answer) = pf
            .request(&exchange.request)
            .map_err(|error| Difference::Silent(exchange.request.kind(), error))?;
        compare(exchange, verdict, &answer)?;
    }
    if !is_reset {
        pf.reset()
            .map_err(|error| Difference::Silent(Kind::Reset, error))?;
    }
    Ok(())
}

/// Compares what the PF has answered with the answer on the source.
fn compare(source: &Exchange, verdict: Verdict, answer: &Answer) -> Result<(), Difference> {
    if !source.is_comparable {
        return Ok(());
    }
    if verdict != source.verdict {
        return Err(Difference::Verdict {
            request: source.request,
            source: source.verdict,
            target: verdict,
        });
    }
    // A PF that has an address for the function tells it when it accepts a reset.
    let tells = source.request.kind() == Kind::Reset && verdict == Verdict::Accepted;
    if tells && answer.address() != source.address {
        return Err(Difference::Address {
            source: source.address,
            target: answer.address(),
        });
    }
    Ok(())
}
