// SPDX-License-Identifier: GPL-2.0-only

//! A device whose driver does not know what it writes: every page is dirty, always.

use crate::{
    common::{register, Host, DMA},
    part::Least,
};
use kernel::error::code::*;
use migration::{
    engine::{Engine, Protocol},
    iova::{IovaRange, PageRange, PAGES},
    state::State,
};

/// Returns how many pages a query reports, in ranges.
fn ranges(engine: &mut Engine<Least>, host: &Host, range: PageRange) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let any = engine.dirty_look(host, range, range, |table| {
        found.extend(table.ranges_in(range).map(|one| (one.first(), one.last())));
        Ok(())
    });
    assert_eq!(any, Ok(true));
    found
}

#[test]
fn every_page_is_dirty_in_every_query() {
    let host = Host::default();
    let mut engine = Engine::new(Least::filled());
    for protocol in [Protocol::Region2018, Protocol::V2] {
        engine.dirty_start(&host, protocol).unwrap();
        assert_eq!(engine.status().dirty_pages, Some(PAGES));
        for state in [State::Running, State::StopCopy, State::Stop] {
            engine.set_state(&host, protocol, state).unwrap();
            for (first, count) in [(0, 1), (0, 100), (7, 3), (PAGES - 1, 1), (0, PAGES)] {
                for _ in 0..2 {
                    let range = PageRange::new(first, count).unwrap();
                    let found = ranges(&mut engine, &host, range);
                    assert_eq!(found, [(first, first + count - 1)]);
                }
            }
        }
        engine.set_state(&host, protocol, State::Running).unwrap();
        engine.dirty_stop(&host, protocol);
        assert_eq!(engine.status().dirty_pages, None);
    }
}

#[test]
fn what_the_device_marks_makes_nothing_clean() {
    let host = Host::default();
    let mut engine = Engine::new(Least::filled());
    engine.dirty_start(&host, Protocol::V2).unwrap();
    let space = PageRange::new(0, 10).unwrap();
    for page in [3, 900] {
        engine.write_register(&host, register(DMA), page).unwrap();
        assert_eq!(ranges(&mut engine, &host, space), [(0, 9)]);
    }
    // A second start, and a reset, end nothing of that.
    engine.dirty_start(&host, Protocol::V2).unwrap();
    assert_eq!(ranges(&mut engine, &host, space), [(0, 9)]);
    engine.reset(&host).unwrap();
    let look = engine.dirty_look(&host, space, space, |_| Ok(()));
    assert_eq!(look, Err(EINVAL));
    engine.dirty_start(&host, Protocol::V2).unwrap();
    assert_eq!(ranges(&mut engine, &host, space), [(0, 9)]);
}

#[test]
fn a_report_has_the_whole_range() {
    let host = Host::default();
    let mut engine = Engine::new(Least::filled());
    engine.dirty_start(&host, Protocol::V2).unwrap();
    for (start, len) in [(0x1000, 0x3000), (0x1800, 0x400), (0, u64::MAX)] {
        let mut parts = Vec::new();
        let range = IovaRange::new(start, len).unwrap();
        let any = engine.dirty_report(&host, range, |part| {
            parts.push((part.start(), part.len()));
            Ok(())
        });
        assert_eq!((any, parts), (Ok(true), vec![(start, len)]));
    }
}
