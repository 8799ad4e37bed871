// SPDX-License-Identifier: GPL-2.0-only

//! Sequences of what clients and the guest may do, by all three protocols and with faults.
//!
//! After each step the engine's state, owner and session must agree with each other and with the
//! device. A step of one protocol must leave another's migration alone. An image that was saved as
//! a whole must load, and a loaded device must have the source's contents.

mod model;
mod step;

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use kernel::alloc;
use migration::{
    engine::{Engine, Protocol},
    state::State,
};

use crate::common::{read, Fake, Host, Side};
use model::Model;
use step::Step;

/// Bytes of the device's memory.
const MEMORY: usize = 200;

/// Bytes of the memory in a section.
const CHUNK: usize = 64;

/// Bytes of the data section.
const WINDOW: usize = 96;

/// Most steps of an input.
const STEPS: usize = 96;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut model = Model::new(Side::new(source(), WINDOW));
    for _ in 0..STEPS {
        let Ok(step) = Step::arbitrary(&mut input) else {
            break;
        };
        model.take(step);
        if input.is_empty() {
            break;
        }
    }
    alloc::succeed();
    model.end();
}

/// A device with something in it.
fn source() -> Fake {
    let mut fake = Fake::filled(MEMORY, CHUNK);
    fake.note = true;
    fake
}

/// An image of [`source`]: the one that the steps load.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let (mut engine, host) = (Engine::new(source()), Host::default());
        engine
            .set_state(&host, Protocol::V2, State::StopCopy)
            .unwrap();
        let mut image = vec![0; 4096];
        let len = read(&mut engine, &host, &mut image).unwrap();
        assert!(engine.is_saved());
        image.truncate(len);
        image
    })
}
