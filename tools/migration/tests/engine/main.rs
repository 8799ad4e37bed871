// SPDX-License-Identifier: GPL-2.0-only

//! The engine over a device in memory.

mod arcs;
#[path = "../common/mod.rs"]
mod common;
mod load;
mod save;
mod tracking;
mod user;

use crate::common::{read, Fake, Host};
use kernel::error::Result;
use migration::{
    engine::{Engine, Protocol},
    state::State,
};

const V2: Protocol = Protocol::V2;

fn engine(device: Fake) -> (Engine<Fake>, Host) {
    (Engine::new(device), Host::default())
}

/// Hands out all that there is, in pieces.
fn read_all(engine: &mut Engine<Fake>, host: &Host, piece: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut out = vec![0; piece];
    loop {
        let count = read(engine, host, &mut out)?;
        if count == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&out[..count]);
    }
}

/// An image of a device with something in it, saved while stopped.
fn image(memory: usize, chunk: usize) -> Vec<u8> {
    let (mut engine, host) = engine(Fake::filled(memory, chunk));
    engine.set_state(&host, V2, State::StopCopy).unwrap();
    read_all(&mut engine, &host, 999).unwrap()
}
