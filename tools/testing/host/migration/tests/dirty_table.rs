// SPDX-License-Identifier: GPL-2.0-only

//! The dirty table against a plain set of pages.

use std::collections::BTreeSet;

use kernel::{alloc, error::code::*};
use migration::{
    dirty::{
        table::{DirtyTable, LEAF_PAGES, MAX_LEAVES},
        DirtyLog,
    },
    iova::{IovaRange, PageRange, PAGES, PAGE_SIZE},
};
use proptest::prelude::*;

/// The bitmap of `range` as the table tells it; checks the pieces.
fn bitmap(table: &DirtyTable, range: PageRange) -> Vec<u8> {
    let mut bitmap = Vec::new();
    table
        .bitmap(range, &mut |offset, bytes| {
            assert_eq!(offset, bitmap.len());
            assert!(!bytes.is_empty());
            bitmap.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    bitmap
}

/// The bitmap of `range` as a set tells it.
fn expected(set: &BTreeSet<u64>, range: PageRange) -> Vec<u8> {
    let mut bitmap = vec![0; range.count().div_ceil(8) as usize];
    for page in set.range(range.first()..=range.last()) {
        let bit = page - range.first();
        bitmap[bit as usize / 8] |= 1 << (bit % 8);
    }
    bitmap
}

#[derive(Clone, Debug)]
enum Step {
    Mark(PageRange),
    Clear(PageRange),
    Bitmap(PageRange),
    Any(PageRange),
}

/// Ranges near the edges of words, leaves and the address space.
fn range() -> impl Strategy<Value = PageRange> {
    let base = prop_oneof![
        Just(0),
        Just(LEAF_PAGES),
        Just(1 << 40),
        Just(PAGES - 3 * LEAF_PAGES),
    ];
    let count = prop_oneof![1..4u64, 60..70u64, 500..530u64, 1..2000u64];
    (base, 0..3 * LEAF_PAGES, count).prop_map(|(base, offset, count)| {
        let first = base + offset;
        PageRange::new(first, count.min(PAGES - first)).unwrap()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => range().prop_map(Step::Mark),
        2 => range().prop_map(Step::Clear),
        2 => range().prop_map(Step::Bitmap),
        1 => range().prop_map(Step::Any),
    ]
}

proptest! {
    #[test]
    fn equals_a_set(steps in prop::collection::vec(step(), 1..40)) {
        let mut table = DirtyTable::new();
        let mut set = BTreeSet::new();
        for step in steps {
            match step {
                Step::Mark(range) => {
                    table.mark(range);
                    set.extend(range.iter());
                }
                Step::Clear(range) => {
                    table.clear(range);
                    set.retain(|page| !(range.first()..=range.last()).contains(page));
                }
                Step::Bitmap(range) => {
                    prop_assert_eq!(bitmap(&table, range), expected(&set, range));
                }
                Step::Any(range) => {
                    let any = set.range(range.first()..=range.last()).next().is_some();
                    prop_assert_eq!(table.any_in(range), any);
                }
            }
            prop_assert_eq!(table.count(), set.len() as u64);
            let listed: Vec<u64> = table.ranges().flat_map(|range| range.iter()).collect();
            prop_assert!(listed.iter().eq(set.iter()));
            let ranges: Vec<PageRange> = table.ranges().collect();
            prop_assert!(ranges.windows(2).all(|two| two[0].last() + 1 < two[1].first()));
        }
    }

    #[test]
    fn iova_ranges_are_checked(start: u64, len: u64) {
        let fits = len > 0 && u128::from(start) + u128::from(len) <= 1 << 64;
        match IovaRange::new(start, len) {
            Ok(range) => {
                prop_assert!(fits);
                prop_assert_eq!(range.start(), start);
                prop_assert_eq!(range.len(), len);
                prop_assert_eq!(range.last(), start + (len - 1));
                prop_assert_eq!(range.pages().first(), start / PAGE_SIZE);
                prop_assert_eq!(range.pages().last(), (start + (len - 1)) / PAGE_SIZE);
            }
            Err(error) => {
                prop_assert!(!fits);
                prop_assert_eq!(error, EINVAL);
            }
        }
    }

    #[test]
    fn page_ranges_are_checked(start: u64, count: u64) {
        let end = u128::from(start) + u128::from(count) * u128::from(PAGE_SIZE);
        let fits = count > 0 && start % PAGE_SIZE == 0 && end <= 1 << 64;
        prop_assert_eq!(PageRange::at(start, count).is_ok(), fits);
    }
}

#[test]
fn ranges_at_the_edges() {
    assert_eq!(IovaRange::new(0, 0), Err(EINVAL));
    assert_eq!(IovaRange::new(u64::MAX, 2), Err(EINVAL));
    let last = IovaRange::new(u64::MAX, 1).unwrap();
    assert_eq!((last.pages().first(), last.pages().count()), (PAGES - 1, 1));
    let most = IovaRange::new(0, u64::MAX).unwrap();
    assert_eq!(most.pages(), PageRange::EVERYTHING);
    assert_eq!(most.len(), u64::MAX);
    let two = IovaRange::new(PAGE_SIZE - 1, 2).unwrap().pages();
    assert_eq!((two.first(), two.count()), (0, 2));

    assert_eq!(PageRange::new(0, PAGES), Ok(PageRange::EVERYTHING));
    assert_eq!(PageRange::EVERYTHING.count(), PAGES);
    assert_eq!(PageRange::new(1, PAGES), Err(EINVAL));
    assert_eq!(PageRange::new(PAGES, 1), Err(EINVAL));
    assert_eq!(PageRange::new(u64::MAX, 2), Err(EINVAL));
    assert_eq!(PageRange::at(1, 1), Err(EINVAL));
    assert_eq!(PageRange::at(PAGE_SIZE, 2).unwrap().start(), PAGE_SIZE);
    assert_eq!(PageRange::new(5, 9).unwrap().take(0), Err(EINVAL));
    assert_eq!(PageRange::new(5, 9).unwrap().take(2), PageRange::new(5, 2));
    assert_eq!(PageRange::new(5, 9).unwrap().take(99), PageRange::new(5, 9));
}

#[test]
fn nothing_is_allocated_where_nothing_is_dirty() {
    let before = alloc::total();
    let mut table = DirtyTable::new();
    table.clear(PageRange::EVERYTHING);
    assert!(!table.any_in(PageRange::EVERYTHING));
    assert_eq!(table.count(), 0);
    assert_eq!(table.ranges().count(), 0);
    assert_eq!(alloc::total(), before);
}

#[test]
fn last_page_of_the_space() {
    let mut table = DirtyTable::new();
    let last = PageRange::new(PAGES - 1, 1).unwrap();
    table.mark(last);
    assert!(table.any_in(PageRange::EVERYTHING));
    assert_eq!(table.ranges().collect::<Vec<_>>(), [last]);
    let tail = PageRange::new(PAGES - 3, 3).unwrap();
    assert_eq!(bitmap(&table, tail), [0b100]);
    table.clear(PageRange::EVERYTHING);
    assert_eq!(table.count(), 0);
}

#[test]
fn a_failing_sink_ends_the_bitmap() {
    let mut table = DirtyTable::new();
    table.mark(PageRange::new(0, 2000).unwrap());
    let mut calls = 0;
    let result = table.bitmap(PageRange::new(0, 2000).unwrap(), &mut |_, _| {
        calls += 1;
        if calls == 2 {
            Err(EFAULT)
        } else {
            Ok(())
        }
    });
    assert_eq!(result, Err(EFAULT));
    assert_eq!(calls, 2);
    assert_eq!(table.count(), 2000);
}

/// Everything is dirty, whatever is cleared.
fn assert_everything(table: &mut DirtyTable) {
    assert!(table.is_everything());
    table.clear(PageRange::EVERYTHING);
    assert_eq!(table.count(), PAGES);
    assert!(table.any_in(PageRange::new(12345, 1).unwrap()));
    assert_eq!(bitmap(table, PageRange::new(77, 11).unwrap()), [0xff, 0x07]);
    assert_eq!(table.ranges().collect::<Vec<_>>(), [PageRange::EVERYTHING]);
    table.mark(PageRange::new(3, 1).unwrap());
    assert_eq!(table.count(), PAGES);
}

#[test]
fn a_range_beyond_the_bound_makes_everything_dirty() {
    let mut table = DirtyTable::new();
    let before = alloc::total();
    table.mark(PageRange::EVERYTHING);
    assert_eq!(alloc::total(), before);
    assert_everything(&mut table);
}

#[test]
fn one_leaf_beyond_the_bound_makes_everything_dirty() {
    let mut table = DirtyTable::new();
    let most = MAX_LEAVES as u64 * LEAF_PAGES;
    table.mark(PageRange::new(LEAF_PAGES - 1, most).unwrap());
    assert!(table.is_everything());

    let mut table = DirtyTable::new();
    table.mark(PageRange::new(LEAF_PAGES, most).unwrap());
    assert!(!table.is_everything());
    assert_eq!(table.count(), most);
    table.mark(PageRange::new(LEAF_PAGES, 1).unwrap());
    assert!(!table.is_everything());
    table.mark(PageRange::new(0, 1).unwrap());
    assert_everything(&mut table);
}

#[test]
fn no_memory_makes_everything_dirty_and_a_restart_ends_it() {
    for successes in 0..4 {
        let mut log = DirtyLog::new();
        log.start();
        alloc::fail_after(successes);
        log.mark(IovaRange::new(0x1000, 1).unwrap());
        log.mark(IovaRange::new(1 << 40, 1).unwrap());
        let unused = alloc::succeed();
        let table = log.table().unwrap();
        assert_eq!(table.is_everything(), !unused);
        assert!(table.any_in(PageRange::new(1, 1).unwrap()));
        assert!(table.any_in(PageRange::new(1 << 28, 1).unwrap()));
        log.start();
        assert_eq!(log.table().unwrap().count(), 0);
    }
}

#[test]
fn a_log_that_is_off_takes_nothing() {
    let mut log = DirtyLog::new();
    let before = alloc::total();
    log.mark(IovaRange::new(0, u64::MAX).unwrap());
    assert_eq!(alloc::total(), before);
    assert!(!log.is_tracking());
    assert_eq!(log.table().err(), Some(EINVAL));
    log.start();
    log.mark(IovaRange::new(0, 1).unwrap());
    assert_eq!(log.table().unwrap().count(), 1);
    log.stop();
    assert_eq!(log.table().err(), Some(EINVAL));
}
