// SPDX-License-Identifier: GPL-2.0-only

//! The migration region of November 2018: states, actions, and what a client may not do.

mod buffers;
#[path = "../common/mod.rs"]
mod common;
mod failures;
mod header;
mod load;
mod orders;
mod others;
mod queries;
mod states;

use crate::common::{register, Fake, Side, DMA};
use kernel::error::Result;
use migration::{
    iova::PAGE_SIZE,
    protocols::region_2018::{
        layout::Field,
        state::DeviceState::{self, *},
    },
};

fn image() -> Vec<u8> {
    let mut source = Side::new(Fake::filled(200, 64), 4096);
    source.enter(Stopncopy).unwrap();
    source.take_all().unwrap()
}

/// Brings a fresh side to a state, with the image handed out or taken as a whole.
fn at(state: DeviceState) -> Side {
    let mut side = Side::new(Fake::filled(200, 64), 4096);
    match state {
        None | Running | Setup => side.enter(state).unwrap(),
        Precopy => {
            side.enter(Setup).unwrap();
            side.enter(Precopy).unwrap();
        }
        Stopncopy | SaveCompleted => {
            side.enter(Setup).unwrap();
            side.enter(Stopncopy).unwrap();
            side.take_all().unwrap();
        }
        Resume | ResumeCompleted => {
            side.enter(Resume).unwrap();
            side.give_all(&image()).unwrap();
        }
        Failed | Cancelled => unreachable!(),
    }
    if matches!(state, SaveCompleted | ResumeCompleted) {
        side.enter(state).unwrap();
    }
    assert_eq!(side.state(), state.number());
    side
}

/// Asks for a range from page `first` on; returns the pages covered and the dirty ones.
fn ask(side: &mut Side, first: u64, total: u64) -> Result<(u64, Vec<u64>)> {
    side.set(Field::StartAddr, first * PAGE_SIZE)?;
    side.set(Field::Total, total)?;
    let copied = side.get(Field::Copied)?;
    assert_eq!(side.get(Field::Copied), Ok(copied));
    let bitmap = side.window.bytes.borrow().clone();
    let bits = copied.div_ceil(8) * 8;
    let dirty = (0..bits).filter(|bit| (bitmap[*bit as usize / 8] >> (bit % 8)) & 1 != 0);
    Ok((copied, dirty.map(|bit| first + bit).collect()))
}

fn transfer(side: &mut Side, page: u64) {
    let host = &side.host;
    side.object
        .engine_mut()
        .write_register(host, register(DMA), page)
        .unwrap();
}

/// Returns a side in one of the saving states with some dirty pages, and the rest of its image.
fn saving(state: DeviceState) -> (Side, Vec<u8>) {
    let make = || {
        let mut side = Side::new(Fake::filled(300, 64), 100);
        side.enter(Setup).unwrap();
        transfer(&mut side, 3);
        transfer(&mut side, 40);
        side.object.engine_mut().device_mut().land(&side.host);
        side.object.engine_mut().device_mut().land(&side.host);
        side.enter(state).unwrap();
        side
    };
    let image = make().take_all().unwrap();
    (make(), image)
}
