// SPDX-License-Identifier: GPL-2.0-only

//! Which pages the device wrote.

use crate::{
    common::{register, Fake, Host, Op, DMA},
    engine, V2,
};
use kernel::{
    alloc,
    error::{code::*, Result},
};
use migration::{
    engine::{Engine, Protocol},
    iova::{IovaRange, PageRange, PAGES},
    state::State,
};
use proptest::prelude::*;

/// The pages that a query reports.
fn query(engine: &mut Engine<Fake>, host: &Host, range: PageRange) -> Result<Vec<u64>> {
    let mut pages = Vec::new();
    let any = engine.dirty_look(host, range, range, |table| {
        table.bitmap(range, &mut |offset, bytes| {
            for (byte, bits) in bytes.iter().enumerate() {
                let first = range.first() + 8 * (offset + byte) as u64;
                pages.extend(
                    (0..8)
                        .filter(|bit| (bits >> bit) & 1 != 0)
                        .map(|bit| first + bit),
                );
            }
            Ok(())
        })
    })?;
    assert_eq!(any, !pages.is_empty());
    Ok(pages)
}

/// The parts of a range that a report tells of, as first and last address.
fn report(engine: &mut Engine<Fake>, host: &Host, start: u64, len: u64) -> Vec<(u64, u64)> {
    let mut parts = Vec::new();
    let range = IovaRange::new(start, len).unwrap();
    let any = engine.dirty_report(host, range, |part| {
        parts.push((part.start(), part.last()));
        Ok(())
    });
    assert_eq!(any, Ok(!parts.is_empty()));
    parts
}

/// Has the device write pages, and lets the transfers land.
fn write_pages(engine: &mut Engine<Fake>, host: &Host, pages: &[u32]) {
    for page in pages {
        let result = engine.write_register(host, register(DMA), u64::from(*page));
        result.unwrap();
        engine.device_mut().land(host);
    }
}

#[test]
fn a_report_keeps_the_pages_of_which_it_tells_a_part() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    for (start, len, told, kept) in [
        // From page to page.
        (0x1000, 0x3000, vec![(0x1000, 0x3fff)], vec![4]),
        (0x1000, 0x1000, vec![(0x1000, 0x1fff)], vec![2, 3, 4]),
        // Beginning, ending, or both, within a page.
        (0x1800, 0x1800, vec![(0x1800, 0x2fff)], vec![1, 3, 4]),
        (0x1000, 0x2800, vec![(0x1000, 0x37ff)], vec![3, 4]),
        (0x1800, 0x2000, vec![(0x1800, 0x37ff)], vec![1, 3, 4]),
        (0x1001, 0x1ffe, vec![(0x1001, 0x2ffe)], vec![1, 2, 3, 4]),
        // Within one page, or within one of the client's pages that is larger than ours.
        (0x1400, 0x400, vec![(0x1400, 0x17ff)], vec![1, 2, 3, 4]),
        (0x1000, 0xfff, vec![(0x1000, 0x1ffe)], vec![1, 2, 3, 4]),
        (0x1fff, 2, vec![(0x1fff, 0x2000)], vec![1, 2, 3, 4]),
        (0x5000, 0x800, vec![], vec![1, 2, 3, 4]),
        (0, 0x1800, vec![(0x1000, 0x17ff)], vec![1, 2, 3, 4]),
    ] {
        engine.dirty_start(&host, V2).unwrap();
        write_pages(&mut engine, &host, &[1, 2, 3, 4]);
        let what = format!("{start:#x}, {len:#x}");
        assert_eq!(report(&mut engine, &host, start, len), told, "{what}");
        assert_eq!(
            query(&mut engine, &host, page(0, 10)).unwrap(),
            kept,
            "{what}"
        );
    }
    // A report that fails forgets nothing.
    write_pages(&mut engine, &host, &[7]);
    let range = IovaRange::new(0, 0x10000).unwrap();
    let result = engine.dirty_report(&host, range, |_| Err(EFAULT));
    assert_eq!(result, Err(EFAULT));
    assert_eq!(query(&mut engine, &host, page(0, 10)).unwrap(), [7]);
}

proptest! {
    #[test]
    fn no_page_is_lost_whatever_the_reports_ask_for(
        pages in proptest::collection::btree_set(0u32..12, 0..12),
        asked in proptest::collection::vec((0u64..0xd000, 1u64..0x5000), 0..8),
    ) {
        let (mut engine, host) = engine(Fake::new(100, 30));
        engine.dirty_start(&host, V2).unwrap();
        write_pages(&mut engine, &host, &pages.iter().copied().collect::<Vec<_>>());
        // What the client knows, byte by byte.
        let mut told = vec![false; 0x20000];
        for (start, len) in asked {
            for (first, last) in report(&mut engine, &host, start, len) {
                assert!(first >= start && last < start + len);
                told[first as usize..=last as usize].fill(true);
            }
        }
        for (first, last) in report(&mut engine, &host, 0, 0x20000) {
            told[first as usize..=last as usize].fill(true);
        }
        for (address, told) in told.iter().enumerate() {
            assert_eq!(*told, pages.contains(&(address as u32 >> 12)), "{address:#x}");
        }
        assert!(report(&mut engine, &host, 0, 0x20000).is_empty());
    }
}

#[test]
fn the_pages_at_the_ends_of_the_space() {
    let whole = |start, len| {
        let pages = IovaRange::new(start, len).unwrap().whole_pages();
        pages.map(|pages| (pages.first(), pages.count()))
    };
    let end = u64::MAX;
    assert_eq!(whole(end - 0xfff, 0x1000), Some((PAGES - 1, 1)));
    assert_eq!(whole(end - 0x1fff, 0x1fff), Some((PAGES - 2, 1)));
    assert_eq!(whole(end - 0xffe, 0xfff), None);
    assert_eq!(whole(end, 1), None);
    assert_eq!(whole(0, 0xfff), None);
    assert_eq!(whole(0, end), Some((0, PAGES - 1)));
    assert_eq!(whole(1, end), Some((1, PAGES - 1)));
}

#[test]
fn a_transfer_in_flight_is_reported_until_it_has_landed() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    let space = page(0, 100);
    engine.write_register(&host, register(DMA), 7).unwrap();
    assert_eq!(engine.log().table().err(), Some(EINVAL));
    assert_eq!(query(&mut engine, &host, space), Err(EINVAL));

    engine.dirty_start(&host, V2).unwrap();
    engine.write_register(&host, register(DMA), 9).unwrap();
    assert_eq!(query(&mut engine, &host, space), Ok(vec![7, 9]));
    assert_eq!(query(&mut engine, &host, space), Ok(vec![7, 9]));
    engine.device_mut().land(&host);
    // It landed since the last query.
    assert_eq!(query(&mut engine, &host, space), Ok(vec![7, 9]));
    assert_eq!(query(&mut engine, &host, space), Ok(vec![9]));
    engine.set_state(&host, V2, State::Stop).unwrap();
    assert_eq!(query(&mut engine, &host, space), Ok(vec![9]));
    assert_eq!(query(&mut engine, &host, space), Ok(vec![]));

    // Another protocol's tracking is neither restarted nor stopped.
    assert_eq!(engine.dirty_start(&host, Protocol::Region2018), Err(EBUSY));
    engine.dirty_stop(&host, Protocol::Region2018);
    assert_eq!(engine.dirty_tracker(), Some(V2));
    engine.dirty_stop(&host, V2);
    assert_eq!(engine.dirty_tracker(), None);
}

#[test]
fn more_transfers_than_are_remembered() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    for at in 0..40 {
        engine.write_register(&host, register(DMA), at).unwrap();
    }
    let all: Vec<u64> = (0..40).collect();
    for _ in 0..2 {
        assert_eq!(query(&mut engine, &host, page(0, 64)).unwrap(), all);
    }
    for _ in 0..40 {
        engine.device_mut().land(&host);
    }
    assert_eq!(query(&mut engine, &host, page(0, 64)).unwrap(), all);
    assert_eq!(query(&mut engine, &host, page(0, 64)).unwrap(), []);
}

#[test]
fn a_query_that_fails_forgets_nothing() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    for at in [3, 900] {
        engine.write_register(&host, register(DMA), at).unwrap();
        engine.device_mut().land(&host);
    }
    host.fail(Op::InFlight, EIO);
    assert_eq!(query(&mut engine, &host, page(0, 1000)), Err(EIO));
    let mut calls = 0;
    let space = page(0, 1000);
    let failing = engine.dirty_look(&host, space, space, |table| {
        table.bitmap(space, &mut |_, _| {
            calls += 1;
            if calls == 2 {
                Err(EFAULT)
            } else {
                Ok(())
            }
        })
    });
    assert_eq!(failing, Err(EFAULT));
    assert_eq!(query(&mut engine, &host, page(0, 1000)), Ok(vec![3, 900]));

    // A start that fails leaves tracking off.
    host.fail(Op::InFlight, EIO);
    assert_eq!(engine.dirty_start(&host, V2), Err(EIO));
    assert!(engine.log().table().is_err());
    assert_eq!(engine.dirty_tracker(), None);
}

#[test]
fn everything_dirty_is_reported_once() {
    let (mut engine, host) = engine(Fake::new(100, 30));
    engine.dirty_start(&host, V2).unwrap();
    alloc::fail_after(0);
    engine.write_register(&host, register(DMA), 7).unwrap();
    alloc::succeed();
    assert_eq!(engine.status().dirty_pages, Some(PAGES));
    let pages = query(&mut engine, &host, page(0, 20)).unwrap();
    assert_eq!(pages, (0..20).collect::<Vec<_>>());
    // A page that may still be written is reported again, and so are new ones.
    assert_eq!(query(&mut engine, &host, page(0, 20)), Ok(vec![7]));
    engine.device_mut().land(&host);
    engine.write_register(&host, register(DMA), 9).unwrap();
    engine.device_mut().land(&host);
    assert_eq!(query(&mut engine, &host, page(0, 20)), Ok(vec![7, 9]));
    assert_eq!(query(&mut engine, &host, page(0, 20)), Ok(vec![]));
    // Nobody has asked for the others.
    assert_eq!(query(&mut engine, &host, page(18, 4)), Ok(vec![20, 21]));
}

#[derive(Clone, Debug)]
enum Step {
    Transfer(u64),
    Land,
    Query(u64, u64),
}

proptest! {
    /// A client that copies what each query reports ends with what the device wrote.
    #[test]
    fn no_page_is_lost(
        early in prop::collection::vec(0u64..40, 0..4),
        steps in prop::collection::vec(
            prop_oneof![
                (0u64..40).prop_map(Step::Transfer),
                Just(Step::Land),
                (0u64..40, 1u64..40).prop_map(|(first, count)| Step::Query(first, count)),
            ],
            0..60,
        ),
        short_of_memory in prop::option::of(0u64..6),
    ) {
        let (mut engine, host) = engine(Fake::new(100, 30));
        for at in early {
            engine.write_register(&host, register(DMA), at).unwrap();
        }
        engine.dirty_start(&host, V2).unwrap();
        // The first pass of a migration copies everything.
        let mut copy = host.guest.borrow().clone();
        if let Some(successes) = short_of_memory {
            alloc::fail_after(successes);
        }
        let mut copied = |engine: &mut Engine<Fake>, range| {
            for at in query(engine, &host, range).unwrap() {
                if let Some(version) = host.guest.borrow().get(&at) {
                    copy.insert(at, *version);
                }
            }
        };
        for step in steps {
            match step {
                Step::Transfer(at) => engine.write_register(&host, register(DMA), at).unwrap(),
                Step::Land => engine.device_mut().land(&host),
                Step::Query(first, count) => copied(&mut engine, page(first, count)),
            }
        }
        alloc::succeed();
        engine.set_state(&host, V2, State::StopCopy).unwrap();
        copied(&mut engine, page(0, 80));
        prop_assert_eq!(&copy, &*host.guest.borrow());
    }
}

fn page(first: u64, count: u64) -> PageRange {
    PageRange::new(first, count).unwrap()
}
