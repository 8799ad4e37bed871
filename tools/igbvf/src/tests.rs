// SPDX-License-Identifier: GPL-2.0-only

//! Tests of the pure files.

mod history;
mod image;
mod registers;
mod replay;
mod ring;

use crate::{
    history::History,
    mailbox::{
        Answer,
        Request,
        Verdict,
        WORDS, //
    }, //
};

/// Returns a request that begins with `words`.
fn request(words: &[u32]) -> Request {
    let mut all = [0; WORDS];
    all[..words.len()].copy_from_slice(words);
    Request(all)
}

/// An address, as two words of a message.
const ADDRESS: [u32; 2] = [0x0200_5452, 0x0100];

/// Returns the request to set an address.
fn set_mac(last: u32) -> Request {
    request(&[0x02, ADDRESS[0], ADDRESS[1] + (last << 8)])
}

/// Returns the request to add an address.
fn add_filter(last: u32) -> Request {
    request(&[0x0002_0002, ADDRESS[0], last << 8])
}

/// Returns the request to add a VLAN.
fn add_vlan(vlan: u32) -> Request {
    request(&[0x0001_0004, vlan])
}

/// Returns the request to remove a VLAN.
fn remove_vlan(vlan: u32) -> Request {
    request(&[0x04, vlan])
}

/// Records a request and its verdict.
fn record(history: &mut History, request: Request, verdict: Verdict) {
    history.record(request, verdict, &Answer([0, 0, 0]));
}

/// Returns a history with what igbvf asks for at its start.
fn started() -> History {
    let mut history = History::new().unwrap();
    record(&mut history, Request::reset(), Verdict::Refused);
    record(&mut history, set_mac(0), Verdict::Accepted);
    record(&mut history, request(&[0x05, 1522]), Verdict::Accepted);
    record(&mut history, add_vlan(0), Verdict::Accepted);
    record(
        &mut history,
        request(&[0x0002_0003, 0x0123_0456]),
        Verdict::Accepted,
    );
    history
}
