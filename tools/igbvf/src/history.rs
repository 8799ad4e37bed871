// SPDX-License-Identifier: GPL-2.0-only

//! Which requests count.

use super::*;
use crate::{
    history::{
        Gap,
        MAX, //
    },
    mailbox::Kind, //
};

/// Returns what the requests are about, in the order in which they are sent again.
fn kinds(history: &History) -> Vec<Kind> {
    history
        .exchanges()
        .iter()
        .map(|exchange| exchange.request.kind())
        .collect()
}

/// Returns the VLAN requests that are sent again.
fn vlans(history: &History) -> Vec<(u32, bool)> {
    history
        .exchanges()
        .iter()
        .filter(|exchange| exchange.request.kind() == Kind::Vlan)
        .map(|exchange| (exchange.request.vlan(), exchange.request.adds_vlan()))
        .collect()
}

#[test]
fn the_order_is_that_of_the_kinds() {
    let mut history = started();
    record(&mut history, add_filter(1), Verdict::Accepted);
    record(&mut history, Request::filter_clear(), Verdict::Refused);
    record(&mut history, request(&[0x0002_0006]), Verdict::Refused);
    assert_eq!(
        kinds(&history),
        [
            Kind::Reset,
            Kind::Mac,
            Kind::Lpe,
            Kind::Multicast,
            Kind::Promisc,
            Kind::FilterClear,
            Kind::FilterAdd,
            Kind::Vlan,
        ]
    );
}

#[test]
fn the_last_accepted_and_the_last_refused_address_count() {
    let mut history = started();
    for (last, verdict) in [
        (1, Verdict::Accepted),
        (2, Verdict::Refused),
        (3, Verdict::Refused),
        (4, Verdict::Accepted),
    ] {
        record(&mut history, set_mac(last), verdict);
    }
    let macs: Vec<_> = history
        .exchanges()
        .iter()
        .filter(|exchange| exchange.request.kind() == Kind::Mac)
        .map(|exchange| (exchange.request, exchange.verdict))
        .collect();
    // The refused one is sent first and changes nothing.
    assert_eq!(
        macs,
        [
            (set_mac(3), Verdict::Refused),
            (set_mac(4), Verdict::Accepted)
        ]
    );
}

#[test]
fn only_the_last_promiscuous_mode_counts_since_a_refused_one_acts_too() {
    let mut history = started();
    record(&mut history, request(&[0x0002_0006]), Verdict::Accepted);
    record(&mut history, request(&[0x0004_0006]), Verdict::Refused);
    let last: Vec<_> = history
        .exchanges()
        .iter()
        .filter(|exchange| exchange.request.kind() == Kind::Promisc)
        .map(|exchange| exchange.request)
        .collect();
    assert_eq!(last, [request(&[0x0004_0006])]);
}

#[test]
fn vlans_that_were_removed_do_not_count_but_the_last_request_does() {
    let mut history = started();
    for vlan in [5, 7, 9] {
        record(&mut history, add_vlan(vlan), Verdict::Accepted);
    }
    record(&mut history, remove_vlan(7), Verdict::Accepted);
    assert_eq!(
        vlans(&history),
        [(0, true), (5, true), (9, true), (7, false)]
    );
    record(&mut history, remove_vlan(5), Verdict::Accepted);
    assert_eq!(vlans(&history), [(0, true), (9, true), (5, false)]);
    // The last one again, with the tag that it had before.
    record(&mut history, add_vlan(0), Verdict::Accepted);
    assert_eq!(vlans(&history), [(9, true), (0, true)]);
}

#[test]
fn clearing_the_filters_takes_those_that_were_added_before() {
    let mut history = started();
    record(&mut history, add_filter(1), Verdict::Accepted);
    record(&mut history, add_filter(1), Verdict::Accepted);
    record(&mut history, add_filter(2), Verdict::Accepted);
    assert!(history.has_filters());
    assert_eq!(
        kinds(&history)
            .iter()
            .filter(|kind| **kind == Kind::FilterAdd)
            .count(),
        2
    );
    record(&mut history, Request::filter_clear(), Verdict::Accepted);
    assert!(!history.has_filters());
    assert!(!kinds(&history).contains(&Kind::FilterAdd));
    assert!(kinds(&history).contains(&Kind::FilterClear));
}

#[test]
fn a_reset_keeps_what_the_pf_keeps() {
    let mut history = started();
    record(&mut history, add_filter(1), Verdict::Accepted);
    record(&mut history, Request::reset(), Verdict::Accepted);
    assert_eq!(
        kinds(&history),
        [Kind::Reset, Kind::Mac, Kind::Lpe, Kind::FilterAdd]
    );
    // The PF tells the guest's own address, which a fresh target cannot.
    assert!(!history.exchanges()[0].is_comparable);

    history.function_reset();
    assert_eq!(kinds(&history), [Kind::Lpe, Kind::FilterAdd]);
    record(&mut history, Request::reset(), Verdict::Refused);
    assert!(history.exchanges()[0].is_comparable);

    history.clear();
    assert!(history.exchanges().is_empty());
}

#[test]
fn what_is_not_known_leaves_a_gap() {
    let unknown = request(&[0x55]);
    let mut history = started();
    record(&mut history, unknown, Verdict::Refused);
    assert_eq!(history.gap(), None);
    record(&mut history, unknown, Verdict::Accepted);
    assert_eq!(history.gap(), Some(Gap::Unknown));
    // Nobody knows whether a reset undoes it.
    history.function_reset();
    assert_eq!(history.gap(), Some(Gap::Unknown));
    history.clear();
    assert_eq!(history.gap(), None);
}

#[test]
fn a_request_without_an_answer_leaves_a_gap_until_a_reset() {
    for (kind, after_request, after_reset) in [
        (Kind::Multicast, false, false),
        (Kind::Mac, true, false),
        (Kind::FilterAdd, true, true),
    ] {
        let mut history = started();
        history.unanswered(kind);
        assert_eq!(history.gap(), Some(Gap::Unanswered(kind)));
        record(&mut history, Request::reset(), Verdict::Refused);
        assert_eq!(history.gap().is_some(), after_request, "{kind}");
        history.function_reset();
        assert_eq!(history.gap().is_some(), after_reset, "{kind}");
        assert_eq!(history.has_filters(), after_reset);
    }
}

#[test]
fn the_history_is_bounded() {
    let mut history = History::new().unwrap();
    record(&mut history, Request::reset(), Verdict::Refused);
    for vlan in 1..=4095 {
        record(&mut history, add_vlan(vlan), Verdict::Accepted);
        assert!(history.exchanges().len() <= MAX);
    }
    assert_eq!(history.exchanges().len(), MAX);
    assert_eq!(history.gap(), Some(Gap::Full(Kind::Vlan)));
    history.function_reset();
    assert_eq!(history.gap(), None);
}

#[test]
fn a_message_that_only_begins_like_a_reset_is_none() {
    // igb compares the whole word.
    assert_eq!(Request::reset().kind(), Kind::Reset);
    for first in [0x2000_0001, 0x0001_0001, 0x0100_0001] {
        assert_eq!(request(&[first]).kind(), Kind::Other);
    }
}
