// SPDX-License-Identifier: GPL-2.0-only

//! Sending the requests again, to a PF that may be set up differently.

use kernel::prelude::{
    Result,
    EINVAL,
    ETIMEDOUT, //
};

use super::*;
use crate::{
    mailbox::{
        Address,
        Kind, //
    },
    replay::{
        replay,
        Difference,
        PhysicalFunction, //
    }, //
};

/// A PF of which the test knows everything.
struct Pf {
    /// The address that its administrator has set.
    address: Option<[u32; 2]>,
    /// The administrator has set a VLAN.
    has_vlan: bool,
    /// It answers.
    answers: bool,
    /// What it was asked for.
    seen: Vec<Request>,
    /// How often the function was reset.
    resets: usize,
}

impl Pf {
    fn new() -> Self {
        Self {
            address: None,
            has_vlan: false,
            answers: true,
            seen: Vec::new(),
            resets: 0,
        }
    }

    fn verdict(accepts: bool) -> Verdict {
        match accepts {
            true => Verdict::Accepted,
            false => Verdict::Refused,
        }
    }
}

impl PhysicalFunction for Pf {
    fn request(&mut self, request: &Request) -> Result<(Verdict, Answer)> {
        if !self.answers {
            return Err(ETIMEDOUT);
        }
        self.seen.push(*request);
        let accepts = match request.kind() {
            Kind::Reset => self.address.is_some(),
            Kind::Mac | Kind::FilterAdd => self.address.is_none(),
            Kind::Vlan => !self.has_vlan,
            Kind::Other => false,
            _ => true,
        };
        let [low, high] = self.address.unwrap_or_default();
        Ok((Self::verdict(accepts), Answer([0, low, high])))
    }

    fn reset(&mut self) -> Result {
        self.resets += 1;
        Ok(())
    }
}

#[test]
fn a_pf_that_is_set_up_like_the_sources_hears_all_of_it() {
    let mut pf = Pf::new();
    let history = started();
    assert_eq!(replay(&history, &mut pf), Ok(()));
    let sent: Vec<_> = history.exchanges().iter().map(|e| e.request).collect();
    assert_eq!(pf.seen, sent);
    assert_eq!(pf.resets, 0);
}

#[test]
fn nothing_is_sent_for_a_guest_that_has_asked_for_nothing() {
    let mut pf = Pf::new();
    pf.answers = false;
    assert_eq!(replay(&History::new().unwrap(), &mut pf), Ok(()));
}

#[test]
fn a_pf_with_an_address_is_told_from_one_without() {
    let mut pf = Pf::new();
    pf.address = Some(ADDRESS);
    let difference = replay(&started(), &mut pf).unwrap_err();
    assert_eq!(difference.error(), EINVAL);
    let message = difference.to_string();
    assert!(
        message.contains("RESET was refused on the source and is accepted here"),
        "{message}"
    );
    // It ends there.
    assert_eq!(pf.seen.len(), 1);
}

#[test]
fn another_address_of_the_administrators_is_named() {
    let mut history = History::new().unwrap();
    let [low, high] = ADDRESS;
    history.record(Request::reset(), Verdict::Accepted, &Answer([0, low, high]));
    record(&mut history, set_mac(9), Verdict::Refused);

    let mut pf = Pf::new();
    pf.address = Some(ADDRESS);
    assert_eq!(replay(&history, &mut pf), Ok(()));

    // Its verdicts are the same.
    pf.address = Some([low + 0x0100_0000, high]);
    let message = replay(&history, &mut pf).unwrap_err().to_string();
    assert_eq!(
        message,
        "the administrator's MAC address is 52:54:00:02:00:01 on the source and \
         52:54:00:03:00:01 here"
    );
}

#[test]
fn a_vlan_of_the_administrators_is_named() {
    let mut pf = Pf::new();
    pf.has_vlan = true;
    let difference = replay(&started(), &mut pf).unwrap_err();
    let message = difference.to_string();
    assert!(
        message.starts_with("SET_VLAN 0 was accepted on the source and is refused here"),
        "{message}"
    );
    assert!(message.contains("VLAN of the function"), "{message}");
}

#[test]
fn a_pf_that_does_not_answer_ends_the_load() {
    let mut pf = Pf::new();
    pf.answers = false;
    let difference = replay(&started(), &mut pf).unwrap_err();
    assert_eq!(difference, Difference::Silent(Kind::Reset, ETIMEDOUT));
    assert_eq!(difference.error(), ETIMEDOUT);
    assert_eq!(difference.to_string(), "the PF does not answer RESET");
}

#[test]
fn the_guests_own_address_in_the_answer_to_a_reset_is_not_compared() {
    let mut history = started();
    let [low, high] = ADDRESS;
    history.record(Request::reset(), Verdict::Accepted, &Answer([0, low, high]));
    assert_eq!(replay(&history, &mut Pf::new()), Ok(()));
}

#[test]
fn a_guest_between_two_resets_leaves_a_pf_that_waits_for_the_second() {
    let mut history = started();
    history.function_reset();
    let mut pf = Pf::new();
    assert_eq!(replay(&history, &mut pf), Ok(()));
    assert_eq!(pf.seen, [Request::reset(), request(&[0x05, 1522])]);
    assert_eq!(pf.resets, 1);
}

#[test]
fn answers_of_other_messages_are_no_verdicts() {
    let mac = set_mac(0);
    // The PF's own message, with 'clear to send'; one that it has answered itself; its reset.
    assert_eq!(Answer([0x2000_0100, 0, 0]).verdict(&mac), Ok(None));
    assert!(Answer([0x6000_0100, 0, 0]).verdict(&mac).is_err());
    assert!(Answer([0x8000_0001, 0, 0]).verdict(&mac).is_err());
    assert_eq!(mac.kind(), Kind::Mac);
    // Both bits are no verdict.
    assert_eq!(Answer([0xe000_0002, 0, 0]).verdict(&mac), Ok(None));
    for (first, verdict) in [
        (0xa000_0002, Verdict::Accepted),
        (0x6000_0002, Verdict::Refused),
    ] {
        assert_eq!(Answer([first, 0, 0]).verdict(&mac), Ok(Some(verdict)));
    }
    // igb removes the mode from its answer.
    let promisc = request(&[0x0002_0006]);
    assert_eq!(
        Answer([0xa000_0006, 0, 0]).verdict(&promisc),
        Ok(Some(Verdict::Accepted))
    );
}

#[test]
fn an_address_is_printed_as_usual() {
    let [low, high] = ADDRESS;
    let address: Address = Answer([0, low, high]).address();
    assert_eq!(address.to_string(), "52:54:00:02:00:01");
    assert_eq!(address.words(), ADDRESS);
}
