// SPDX-License-Identifier: GPL-2.0-only

//! Dirty pages that the device finds when it is asked for them.

#[path = "../common/mod.rs"]
mod common;
mod container;
mod device;
mod log;

use crate::device::{Host, Ring, POST};
use kernel::error::Result;
use migration::{
    engine::{Engine, Protocol},
    iova::PageRange,
};

const V2: Protocol = Protocol::V2;

/// Pages of guest memory.
const SPACE: u64 = 64;

/// A device with a container.
fn engine() -> (Engine<Ring>, Host) {
    let host = Host::default();
    host.has_container.set(true);
    (Engine::new(Ring::new()), host)
}

fn post(engine: &mut Engine<Ring>, host: &Host, page: u64) {
    let access = common::register(POST);
    engine.write_register(host, access, page).unwrap();
}

/// Has the device write pages.
fn write(engine: &mut Engine<Ring>, host: &Host, pages: &[u64]) {
    for page in pages {
        post(engine, host, *page);
        engine.device_mut().fill(host);
    }
}

/// The pages that a query of the log reports.
fn query(engine: &mut Engine<Ring>, host: &Host) -> Result<Vec<u64>> {
    let space = PageRange::new(0, SPACE)?;
    let mut pages = Vec::new();
    engine.dirty_look(host, space, space, |table| {
        for range in table.ranges_in(space) {
            pages.extend(range.first()..=range.last());
        }
        Ok(())
    })?;
    Ok(pages)
}
