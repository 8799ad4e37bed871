// SPDX-License-Identifier: GPL-2.0-only

//! The guest's requests to the PF that still count.
//!
//! Much of a virtual function's state lies in the PF, where the driver cannot read it. So it keeps
//! the requests that brought it about, with the PF's verdicts, and sends them again on the target
//! ([`crate::replay`]). Refused requests are kept as well, one of each kind: they show what the
//! administrator of the PF does not allow, which must be the same there.
//!
//! A request that the history has no room for, or whose effect is not known, leaves a [`Gap`]. The
//! device cannot be migrated then.

use core::fmt;

use kernel::prelude::*;

use crate::mailbox::{
    Address,
    Answer,
    Kind,
    Request,
    Verdict, //
};

/// The most requests that are kept. The 82576 has 32 VLANs and 24 addresses for all functions.
pub(crate) const MAX: usize = 96;

/// A request and what the PF has answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Exchange {
    /// The request.
    pub(crate) request: Request,
    /// The PF's verdict.
    pub(crate) verdict: Verdict,
    /// The address that the PF has told.
    pub(crate) address: Address,
    /// The PF would answer the same on a target that is set up like the source.
    ///
    /// False for a reset after the guest has set an address: the PF tells that address then.
    pub(crate) is_comparable: bool,
}

impl Exchange {
    /// Returns where the exchange stands among those that are sent again.
    ///
    /// Refused requests go first: they change nothing, except for [`Kind::Promisc`].
    fn rank(&self) -> (Kind, bool) {
        (self.request.kind(), self.verdict == Verdict::Accepted)
    }

    /// Returns whether `self` undoes or repeats `earlier`.
    fn replaces(&self, earlier: &Self) -> bool {
        let kind = self.request.kind();
        let same_rank = self.rank() == earlier.rank();
        match kind {
            Kind::Promisc => kind == earlier.request.kind(),
            Kind::FilterClear if self.verdict == Verdict::Accepted => {
                same_rank || earlier.rank() == (Kind::FilterAdd, true)
            }
            Kind::FilterAdd if self.verdict == Verdict::Accepted => {
                same_rank && self.request.address() == earlier.request.address()
            }
            Kind::Vlan if self.verdict == Verdict::Accepted => {
                // The last request decides whether VLAN tags are stripped, so it is kept even if it
                // removes a VLAN, until the next one.
                same_rank
                    && (self.request.vlan() == earlier.request.vlan()
                        || !earlier.request.adds_vlan())
            }
            _ => same_rank,
        }
    }

    /// Returns whether the PF forgets the request when the function is reset.
    fn ends_with_reset(&self) -> bool {
        !persists(self.request.kind())
    }
}

/// Returns whether the PF keeps what a request of the kind has changed when the function is reset.
fn persists(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Lpe | Kind::FilterClear | Kind::FilterAdd | Kind::Other
    )
}

/// Why the history is not complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gap {
    /// The PF has not answered, and may still do what was asked for.
    Unanswered(Kind),
    /// The PF has accepted a request that the driver does not know.
    Unknown,
    /// There were more requests than [`MAX`].
    Full(Kind),
}

impl Gap {
    /// Returns what the request was about.
    fn kind(self) -> Kind {
        match self {
            Self::Unanswered(kind) | Self::Full(kind) => kind,
            Self::Unknown => Kind::Other,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(kind) => write!(to, "the PF has not answered {kind}"),
            Self::Unknown => write!(
                to,
                "the PF has accepted a request that the driver does not know"
            ),
            Self::Full(kind) => write!(to, "more than {MAX} requests count, the last is {kind}"),
        }
    }
}

/// The requests that count.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// In the order in which they are sent again. Memory for [`MAX`] of them, so recording needs
    /// none.
    exchanges: KVec<Exchange>,
    /// A request is missing.
    gap: Option<Gap>,
}

impl History {
    /// Returns an empty history; `ENOMEM` if there is not enough memory.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            exchanges: KVec::with_capacity(MAX, GFP_KERNEL)?,
            gap: None,
        })
    }

    /// Returns the requests in the order in which they are sent again.
    pub(crate) fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// Returns why the history is not complete.
    pub(crate) fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// Returns whether the guest may have added addresses that outlive a reset of the function.
    pub(crate) fn has_filters(&self) -> bool {
        let has = |exchange: &Exchange| exchange.rank() == (Kind::FilterAdd, true);
        self.exchanges.iter().any(has) || self.gap.is_some_and(|gap| persists(gap.kind()))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.exchanges.clear();
        self.gap = None;
    }

    /// The function was reset, with CTRL.RST: the PF has forgotten what does not outlive that.
    pub(crate) fn function_reset(&mut self) {
        self.exchanges
            .retain(|exchange| !exchange.ends_with_reset());
        if self.gap.is_some_and(|gap| !persists(gap.kind())) {
            self.gap = None;
        }
    }

    /// Records a request and the verdict in `answer`.
    pub(crate) fn record(&mut self, request: Request, verdict: Verdict, answer: &Answer) {
        let kind = request.kind();
        if kind == Kind::Reset {
            // As a reset of the function, but the PF keeps the address.
            let has_address = self.has_address();
            self.exchanges.retain(|exchange| {
                !exchange.ends_with_reset() || exchange.rank() == (Kind::Mac, true)
            });
            if self
                .gap
                .is_some_and(|gap| !persists(gap.kind()) && gap.kind() != Kind::Mac)
            {
                self.gap = None;
            }
            return self.insert(Exchange {
                request,
                verdict,
                address: answer.address(),
                is_comparable: !has_address,
            });
        }
        self.insert(Exchange {
            request,
            verdict,
            address: answer.address(),
            is_comparable: true,
        });
    }

    /// Puts an exchange in its place; for one that was recorded elsewhere, and as
    /// [`Self::record`] does it.
    pub(crate) fn insert(&mut self, exchange: Exchange) {
        let kind = exchange.request.kind();
        if kind == Kind::Other {
            if exchange.verdict == Verdict::Accepted {
                self.gap = Some(Gap::Unknown);
            }
            return;
        }
        self.exchanges.retain(|earlier| !exchange.replaces(earlier));
        if self.exchanges.len() >= MAX {
            self.gap = Some(Gap::Full(kind));
            return;
        }
        let after = |earlier: &Exchange| earlier.rank() > exchange.rank();
        let at = self
            .exchanges
            .iter()
            .position(after)
            .unwrap_or(self.exchanges.len());
        if self.exchanges.insert_within_capacity(at, exchange).is_err() {
            self.gap = Some(Gap::Full(kind));
        }
    }

    /// The PF has not answered a request that it may still see.
    pub(crate) fn unanswered(&mut self, kind: Kind) {
        self.gap = Some(Gap::Unanswered(kind));
    }

    /// Returns whether the PF has an address of the guest's.
    fn has_address(&self) -> bool {
        self.exchanges
            .iter()
            .any(|exchange| exchange.rank() == (Kind::Mac, true))
    }
}
