// SPDX-License-Identifier: GPL-2.0-only

//! The mailbox between the virtual function and the physical one: messages, as igb's driver knows
//! them (`drivers/net/ethernet/intel/igb/e1000_mbx.h`).

use core::fmt;

/// Words of the mailbox.
pub(crate) const WORDS: usize = 16;

/// Words of an answer that mean something: the type, and an address.
pub(crate) const ANSWER_WORDS: usize = 3;

/// The bits of V2PMAILBOX that a read clears: PFSTS, PFACK and RSTD.
pub(crate) const STICKY: u32 = 0xb0;

/// Bits of the first word: the type of the message.
const TYPE: u32 = 0xffff;

/// Bits of the first word: more about a message of the type.
const INFO: u32 = 0xff << 16;

/// The PF has done what was asked for.
const ACK: u32 = 1 << 31;

/// The PF has refused it.
const NACK: u32 = 1 << 30;

/// The message types, in the first word.
const RESET: u32 = 0x01;
const SET_MAC: u32 = 0x02;
const SET_MULTICAST: u32 = 0x03;
const SET_VLAN: u32 = 0x04;
const SET_LPE: u32 = 0x05;
const SET_PROMISC: u32 = 0x06;

/// Info of [`SET_MAC`]: removes all filters.
const FILTER_CLEAR: u32 = 1 << 16;

/// Info of [`SET_MAC`]: adds a filter.
const FILTER_ADD: u32 = 2 << 16;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address([u8; 6]);

impl Address {
    /// Returns the address as two words of a message.
    pub(crate) fn words(self) -> [u32; 2] {
        let [a, b, c, d, e, f] = self.0;
        [
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, 0, 0]),
        ]
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(to, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// What a request is about, in the order in which requests are sent again.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// The virtual function begins anew; the answer has its address.
    Reset,
    /// Set the address.
    Mac,
    /// Set the longest frame.
    Lpe,
    /// Set the multicast filter.
    Multicast,
    /// Receive what the filters would drop. Acts even if it is refused.
    Promisc,
    /// Remove all further addresses.
    FilterClear,
    /// Add a further address.
    FilterAdd,
    /// Add a VLAN or remove it.
    Vlan,
    /// Any other.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Reset => "RESET",
            Self::Mac => "SET_MAC_ADDR",
            Self::Lpe => "SET_LPE",
            Self::Multicast => "SET_MULTICAST",
            Self::Promisc => "SET_PROMISC",
            Self::FilterClear => "MAC_FILTER_CLR",
            Self::FilterAdd => "MAC_FILTER_ADD",
            Self::Vlan => "SET_VLAN",
            Self::Other => "an unknown request",
        })
    }
}

/// What the PF says to a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// ACK.
    Accepted,
    /// NACK.
    Refused,
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        })
    }
}

/// A message of the virtual function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Request(pub(crate) [u32; WORDS]);

impl Request {
    /// Returns the request for a reset.
    pub(crate) fn reset() -> Self {
        Self::of(RESET)
    }

    /// Returns the request to remove all further addresses.
    pub(crate) fn filter_clear() -> Self {
        Self::of(SET_MAC | FILTER_CLEAR)
    }

    /// Returns a message that has one word.
    fn of(first: u32) -> Self {
        let mut words = [0; WORDS];
        if let Some(word) = words.first_mut() {
            *word = first;
        }
        Self(words)
    }

    /// Returns the word at `index`.
    fn word(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Returns what the request is about.
    pub(crate) fn kind(&self) -> Kind {
        let first = self.word(0);
        match (first & TYPE, first & INFO) {
            (RESET, 0) if first == RESET => Kind::Reset,
            (SET_MAC, 0) => Kind::Mac,
            (SET_MAC, FILTER_CLEAR) => Kind::FilterClear,
            (SET_MAC, FILTER_ADD) => Kind::FilterAdd,
            (SET_MULTICAST, _) => Kind::Multicast,
            (SET_VLAN, _) => Kind::Vlan,
            (SET_LPE, _) => Kind::Lpe,
            (SET_PROMISC, _) => Kind::Promisc,
            _ => Kind::Other,
        }
    }

    /// Returns whether the PF takes the message for a request, and not for an answer.
    pub(crate) fn is_request(&self) -> bool {
        self.word(0) & (ACK | NACK) == 0
    }

    /// Returns the words that the PF looks at.
    pub(crate) fn words(&self) -> &[u32] {
        let count = match self.kind() {
            Kind::Reset | Kind::Promisc => 1,
            Kind::Lpe | Kind::Vlan => 2,
            Kind::Mac | Kind::FilterAdd | Kind::FilterClear => 3,
            Kind::Multicast | Kind::Other => WORDS,
        };
        self.0.get(..count).unwrap_or_default()
    }

    /// Returns the VLAN that the request is about.
    pub(crate) fn vlan(&self) -> u32 {
        self.word(1) & 0xfff
    }

    /// Returns whether the request adds a VLAN, and does not remove it.
    pub(crate) fn adds_vlan(&self) -> bool {
        self.word(0) & INFO != 0
    }

    /// Returns the address that the request is about.
    pub(crate) fn address(&self) -> Address {
        address(self.word(1), self.word(2))
    }
}

/// A message of the PF.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Answer(pub(crate) [u32; ANSWER_WORDS]);

impl Answer {
    /// Returns the verdict, if the message answers `request`.
    ///
    /// `Err` if the PF has answered another message, which it found in the place of the request:
    /// its own message to the virtual function. `Ok(None)` if the message is no answer.
    pub(crate) fn verdict(&self, request: &Request) -> Result<Option<Verdict>, Lost> {
        let [first, ..] = self.0;
        let verdict = match (first & ACK != 0, first & NACK != 0) {
            (true, false) => Verdict::Accepted,
            (false, true) => Verdict::Refused,
            _ => return Ok(None),
        };
        match (first ^ request.word(0)) & TYPE {
            0 => Ok(Some(verdict)),
            _ => Err(Lost),
        }
    }

    /// Returns the address in the answer to a reset.
    pub(crate) fn address(&self) -> Address {
        let [_, low, high] = self.0;
        address(low, high)
    }
}

/// The PF has not seen the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lost;

/// Returns the address in two words of a message.
fn address(low: u32, high: u32) -> Address {
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    Address([a, b, c, d, e, f])
}
