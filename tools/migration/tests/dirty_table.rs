// SPDX-License-Identifier: GPL-2.0-only

//! The dirty table against a plain set of pages.

use std::{collections::BTreeSet, ops::RangeInclusive};

use kernel::{alloc, error::code::*};
use migration::{
    dirty::{
        table::{DirtyTable, MAX_BYTES, STRETCH_PAGES},
        DirtyLog,
    },
    iova::{IovaRange, PageRange, PAGES, PAGE_SIZE},
};
use proptest::prelude::*;

/// Pages in a group of stretches.
const GROUP_PAGES: u64 = 64 * STRETCH_PAGES;

/// The numbers of the pages in ascending order.
fn numbers(range: PageRange) -> RangeInclusive<u64> {
    range.first()..=range.last()
}

/// Whether the table gave up telling pages apart, and no query has cleared any since.
fn is_everything(table: &DirtyTable) -> bool {
    table.is_uncertain() && table.ranges().eq([PageRange::EVERYTHING])
}

/// Puts a piece of a bitmap in its place, as a sink does; checks the piece.
fn paste(bitmap: &mut [u8], end: &mut usize, offset: usize, bytes: &[u8]) {
    assert!(offset >= *end && !bytes.is_empty());
    *end = offset + bytes.len();
    bitmap[offset..*end].copy_from_slice(bytes);
}

/// The bitmap of `range` as the table tells it.
fn bitmap(table: &DirtyTable, range: PageRange) -> Vec<u8> {
    let mut bitmap = vec![0; range.count().div_ceil(8) as usize];
    let mut end = 0;
    table
        .bitmap(range, &mut |offset, bytes| {
            paste(&mut bitmap, &mut end, offset, bytes);
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
    /// Each `stride`-th page.
    Scatter(PageRange, usize),
    /// Each page by itself, in order.
    Follow(PageRange),
    Clear(PageRange),
    Bitmap(PageRange),
    /// The bitmap, then clear.
    Take(PageRange),
    /// The bitmap with a sink that fails at its `n`-th call.
    Fail(PageRange, usize),
    Look(PageRange),
}

/// Ranges near the edges of words, blocks, stretches, groups and the address space.
fn range() -> impl Strategy<Value = PageRange> {
    let base = prop_oneof![
        3 => Just(0),
        3 => Just(STRETCH_PAGES - 1000),
        1 => Just(GROUP_PAGES - 1000),
        1 => Just(1 << 40),
        1 => Just(PAGES - 6000),
    ];
    let count = prop_oneof![
        4 => 1..4u64,
        2 => 5..9u64,
        2 => 60..70u64,
        2 => 500..530u64,
        2 => 1..3000u64,
        1 => Just(STRETCH_PAGES + 100),
    ];
    let offset = prop_oneof![0..3000u64, (0..30u64).prop_map(|words| words * 64)];
    (base, offset, count).prop_map(|(base, offset, count)| {
        let first = base + offset;
        PageRange::new(first, count.min(PAGES - first)).unwrap()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => range().prop_map(Step::Mark),
        2 => (range(), 1..3000usize).prop_map(|(range, stride)| Step::Scatter(range, stride)),
        2 => range().prop_map(Step::Follow),
        2 => range().prop_map(Step::Clear),
        2 => range().prop_map(Step::Bitmap),
        2 => range().prop_map(Step::Take),
        1 => (range(), 1..4usize).prop_map(|(range, call)| Step::Fail(range, call)),
        1 => range().prop_map(Step::Look),
    ]
}

/// Does a step with the table and the set.
fn run(step: Step, table: &mut DirtyTable, set: &mut BTreeSet<u64>) {
    match step {
        Step::Mark(range) => {
            table.mark(range);
            set.extend(numbers(range));
        }
        Step::Follow(range) => run(Step::Scatter(range, 1), table, set),
        Step::Scatter(range, stride) => {
            for page in numbers(range).step_by(stride) {
                table.mark(PageRange::new(page, 1).unwrap());
                set.insert(page);
            }
        }
        Step::Clear(range) => {
            table.clear(range);
            set.retain(|page| !(range.first()..=range.last()).contains(page));
        }
        Step::Bitmap(range) => assert_eq!(bitmap(table, range), expected(set, range)),
        Step::Take(range) => {
            assert_eq!(bitmap(table, range), expected(set, range));
            table.clear(range);
            set.retain(|page| !(range.first()..=range.last()).contains(page));
        }
        Step::Fail(range, call) => {
            let mut calls = 0;
            let result = table.bitmap(range, &mut |_, _| {
                calls += 1;
                if calls == call {
                    Err(EFAULT)
                } else {
                    Ok(())
                }
            });
            assert_eq!(result.is_err(), calls == call);
            assert!(result.is_ok() || result == Err(EFAULT));
        }
        Step::Look(range) => {
            let count = set.range(range.first()..=range.last()).count() as u64;
            assert_eq!(table.any_in(range), count > 0);
            assert_eq!(table.count_in(range), count);
            let listed = table.ranges_in(range).flat_map(numbers);
            assert!(listed.eq(set.range(range.first()..=range.last()).copied()));
        }
    }
}

/// Compares all of the table with the set.
fn compare(table: &DirtyTable, set: &BTreeSet<u64>) {
    assert!(!is_everything(table));
    assert_eq!(table.count(), set.len() as u64);
    let listed = table.ranges().flat_map(numbers);
    assert!(listed.eq(set.iter().copied()));
    let ranges: Vec<PageRange> = table.ranges().collect();
    assert!(ranges
        .windows(2)
        .all(|two| two[0].last() + 1 < two[1].first()));
    assert_eq!(table.memory() == 0, set.is_empty());
}

proptest! {
    // A step may touch two stretches, and all pages are compared after each.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_a_set(steps in prop::collection::vec(step(), 1..25)) {
        let mut table = DirtyTable::new();
        let mut set = BTreeSet::new();
        for step in steps {
            run(step, &mut table, &mut set);
            compare(&table, &set);
        }
    }

    /// With an allocation that fails: the same pages, or all of them.
    #[test]
    fn loses_no_page_without_memory(
        steps in prop::collection::vec(step(), 1..12),
        successes in 0..12u64,
        sticky: bool,
    ) {
        let mut table = DirtyTable::new();
        let mut set = BTreeSet::new();
        if sticky {
            alloc::fail_from(successes);
        } else {
            alloc::fail_after(successes);
        }
        for step in steps {
            let step = match step {
                Step::Mark(_)
                | Step::Scatter(..)
                | Step::Follow(_)
                | Step::Clear(_)
                | Step::Take(..) => step,
                Step::Bitmap(range) | Step::Fail(range, ..) | Step::Look(range) => {
                    Step::Mark(range)
                }
            };
            run(step, &mut table, &mut set);
            if is_everything(&table) {
                // All pages are reported, and from then on only new ones.
                assert_everything(&mut table);
                table.clear(PageRange::EVERYTHING);
                set.clear();
            }
        }
        alloc::succeed();
        compare(&table, &set);
    }

}

proptest! {
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
    table.clear(last);
    assert_eq!(table.count(), 0);
}

#[test]
fn a_failing_sink_ends_the_bitmap() {
    let mut table = DirtyTable::new();
    let range = PageRange::new(0, 200_000).unwrap();
    table.mark(range);
    let mut calls = 0;
    let result = table.bitmap(range, &mut |_, _| {
        calls += 1;
        if calls == 2 {
            Err(EFAULT)
        } else {
            Ok(())
        }
    });
    assert_eq!(result, Err(EFAULT));
    assert_eq!(calls, 2);
    assert_eq!(table.count(), 200_000);
}

/// A sink gets few bytes if few pages are dirty.
#[test]
fn clean_memory_is_not_written() {
    let mut table = DirtyTable::new();
    for page in [0, 70_000, 1 << 30, PAGES - 1] {
        table.mark(PageRange::new(page, 1).unwrap());
    }
    let mut bytes = Vec::new();
    table
        .bitmap(PageRange::EVERYTHING, &mut |at, piece| {
            bytes.push((at as u64 * 8, piece.to_vec()));
            Ok(())
        })
        .unwrap();
    let expected = [
        (0, vec![1]),
        (70_000, vec![1]),
        (1 << 30, vec![1]),
        (PAGES - 8, vec![0x80]),
    ];
    assert_eq!(bytes, expected);
}

/// Marks in order, broken off and taken up again in all ways that a held bitmap could miss.
#[test]
fn neighbours_are_counted_once() {
    // A page apart, then neighbours: the stretch has a bitmap, and the marks run into its blocks.
    for apart in [10, 5000, STRETCH_PAGES - 1, STRETCH_PAGES + 9, 1 << 30] {
        let mut table = DirtyTable::new();
        let mut set = BTreeSet::new();
        let mark = |table: &mut DirtyTable, set: &mut BTreeSet<u64>, page: u64| {
            table.mark(PageRange::new(page, 1).unwrap());
            set.insert(page);
        };
        for page in 4000..14_000 {
            mark(&mut table, &mut set, page);
            if page % 700 == 0 {
                // Elsewhere in the block, in the stretch, or far away; and the same page again.
                mark(&mut table, &mut set, apart + page % 3);
                mark(&mut table, &mut set, page);
            }
            if page % 1100 == 0 {
                // What is held counts for a reader that has no right to change anything.
                compare(&table, &set);
                let block = PageRange::new(page & !4095, 4096).unwrap();
                assert_eq!(bitmap(&table, block), expected(&set, block));
                assert_eq!(
                    table.count_in(block),
                    set.range(numbers(block)).count() as u64
                );
            }
            if page == 9000 {
                run(
                    Step::Take(PageRange::new(4500, 4300).unwrap()),
                    &mut table,
                    &mut set,
                );
            }
            if page == 10_000 {
                run(
                    Step::Mark(PageRange::new(9990, 300).unwrap()),
                    &mut table,
                    &mut set,
                );
            }
        }
        compare(&table, &set);
        // Over the end of the stretch, and of the group.
        for page in GROUP_PAGES - 600..GROUP_PAGES + 600 {
            mark(&mut table, &mut set, page);
        }
        compare(&table, &set);
        run(Step::Clear(PageRange::EVERYTHING), &mut table, &mut set);
        compare(&table, &set);
    }
}

/// Dense bits at each alignment, over the end of a stretch, and with parts of a bitmap clean.
#[test]
fn bits_are_shifted_to_any_place() {
    let mut table = DirtyTable::new();
    let mut set = BTreeSet::new();
    for page in STRETCH_PAGES - 6000..STRETCH_PAGES + 9000 {
        // None of the pages of a block, and more than a chunk of bytes without a gap.
        if page % 61 > 2 && !(STRETCH_PAGES + 4096..STRETCH_PAGES + 8192).contains(&page) {
            run(
                Step::Mark(PageRange::new(page, 1).unwrap()),
                &mut table,
                &mut set,
            );
        }
    }
    for first in (STRETCH_PAGES - 6100..).take(70) {
        for count in (0..20).map(|more| 15_200 - 797 * more) {
            let range = PageRange::new(first, count).unwrap();
            assert_eq!(bitmap(&table, range), expected(&set, range));
        }
    }
}

/// A stretch all of whose pages are dirty gives any of them up, and takes no memory for that.
#[test]
fn pages_leave_a_full_stretch_without_memory() {
    let whole = PageRange::new(STRETCH_PAGES, STRETCH_PAGES).unwrap();
    let around = PageRange::new(STRETCH_PAGES - 3, STRETCH_PAGES + 77).unwrap();
    for one_by_one in [false, true] {
        for (first, count) in [
            (0, 1),
            (0, 40_000),
            (1, STRETCH_PAGES - 2),
            (30_000, 1),
            (40_000, STRETCH_PAGES - 40_000),
            (7, STRETCH_PAGES - 8),
            (6, STRETCH_PAGES - 6),
        ] {
            let mut table = DirtyTable::new();
            let mut set = BTreeSet::new();
            let mark = |range| match one_by_one {
                true => Step::Follow(range),
                false => Step::Mark(range),
            };
            run(mark(whole), &mut table, &mut set);
            let before = alloc::total();
            let part = PageRange::new(STRETCH_PAGES + first, count).unwrap();
            run(Step::Take(part), &mut table, &mut set);
            assert_eq!(bitmap(&table, around), expected(&set, around));
            // In two more pieces, the second of which ends the run.
            run(
                Step::Clear(PageRange::new(part.first(), 60_000).unwrap()),
                &mut table,
                &mut set,
            );
            compare(&table, &set);
            assert_eq!(alloc::total(), before);
            run(mark(part), &mut table, &mut set);
            compare(&table, &set);
            run(Step::Take(around), &mut table, &mut set);
            compare(&table, &set);
        }
    }
}

/// The bounds that the documentation states, by the table's own account and the allocator's.
#[test]
fn memory_follows_the_dirty_pages() {
    // 16 GiB in one piece.
    let mut table = DirtyTable::new();
    let dense = PageRange::new(0, 4 << 20).unwrap();
    table.mark(dense);
    let region = (dense.count() * PAGE_SIZE) as usize;
    assert!(
        table.memory() <= region / 32_000 + 2048,
        "{}",
        table.memory()
    );
    // 1000 pages over 1 TiB.
    let mut table = DirtyTable::new();
    for number in 0..1000u64 {
        let page = number * (1 << 28) / 1000;
        table.mark(PageRange::new(page, 1).unwrap());
    }
    assert!(table.memory() <= 128 * 1000, "{}", table.memory());
    // Most pages are cleared, and the table keeps nothing for them.
    table.clear(PageRange::new(1 << 22, PAGES - (1 << 22)).unwrap());
    assert!(table.memory() <= 2048, "{}", table.memory());
    table.clear(PageRange::EVERYTHING);
    assert_eq!(table.memory(), 0);
}

/// A bitmap with only a few pages left is freed.
#[test]
fn a_cleared_bitmap_shrinks() {
    let mut table = DirtyTable::new();
    table.mark(PageRange::new(100, 1000).unwrap());
    let large = table.memory();
    table.clear(PageRange::new(103, 997).unwrap());
    assert_eq!(table.count(), 3);
    assert!(table.memory() < large);
    let left: Vec<PageRange> = table.ranges().collect();
    assert_eq!(left, [PageRange::new(100, 3).unwrap()]);
    table.mark(PageRange::new(200, 10).unwrap());
    assert_eq!((table.count(), table.memory()), (13, large));
}

/// Everything is dirty, and takes no memory.
fn assert_everything(table: &mut DirtyTable) {
    assert!(is_everything(table));
    assert_eq!(table.memory(), 0);
    assert_eq!(table.count(), PAGES);
    let one = PageRange::new(12345, 1).unwrap();
    assert!(table.any_in(one));
    assert_eq!(table.count_in(one), 1);
    assert_eq!(table.ranges_in(one).collect::<Vec<_>>(), [one]);
    let some = PageRange::new(77, 11).unwrap();
    assert_eq!(bitmap(table, some), [0xff, 0x07]);
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

/// Pages in one piece until the table gives up: not before 1.99 TiB.
#[test]
fn the_bound_in_one_piece() {
    let mut table = DirtyTable::new();
    let mut stretch = 0;
    loop {
        let before = table.memory();
        assert!(before <= MAX_BYTES);
        table.mark(PageRange::new(stretch * STRETCH_PAGES, STRETCH_PAGES).unwrap());
        if is_everything(&table) {
            break;
        }
        stretch += 1;
        assert_eq!(table.count(), stretch * STRETCH_PAGES);
    }
    assert!(
        stretch * STRETCH_PAGES * PAGE_SIZE >= 1990 << 30,
        "{stretch}"
    );
    assert_everything(&mut table);
}

/// The same for pages in the worst places: each in a group of its own.
#[test]
fn the_bound_of_scattered_pages() {
    let mut table = DirtyTable::new();
    let mut number = 0;
    while !is_everything(&table) {
        assert!(table.memory() <= MAX_BYTES);
        // Not in ascending order.
        let place = (number * 7919) % (1 << 20);
        table.mark(PageRange::new(place * GROUP_PAGES + number, 1).unwrap());
        number += 1;
    }
    assert!(number > 60_000, "{number}");
    assert_everything(&mut table);
}

/// What a table has to report after a shortage: pages, and ranges that it has not reported yet.
struct Fallen {
    table: DirtyTable,
    set: BTreeSet<u64>,
    /// In ascending order, not touching.
    untold: Vec<(u64, u64)>,
}

impl Fallen {
    fn new() -> Self {
        let mut table = DirtyTable::new();
        table.mark(PageRange::EVERYTHING);
        Self {
            table,
            set: BTreeSet::new(),
            untold: vec![(0, PAGES - 1)],
        }
    }

    fn mark(&mut self, range: PageRange) {
        self.table.mark(range);
        self.set.extend(numbers(range));
    }

    fn clear(&mut self, range: PageRange) {
        self.table.clear(range);
        self.set
            .retain(|page| !(range.first()..=range.last()).contains(page));
        let mut left = Vec::new();
        for (first, last) in &self.untold {
            if *first < range.first() {
                left.push((*first, (*last).min(range.first() - 1)));
            }
            if *last > range.last() {
                left.push(((*first).max(range.last() + 1), *last));
            }
        }
        left.dedup();
        if left.len() <= 32 {
            self.untold = left;
        }
    }

    fn is_dirty(&self, page: u64) -> bool {
        let untold = |(first, last): &(u64, u64)| (*first..=*last).contains(&page);
        self.set.contains(&page) || self.untold.iter().any(untold)
    }

    /// Compares a part of the space, page by page and as a whole.
    fn compare(&self, range: PageRange) {
        let expected: Vec<u64> = numbers(range).filter(|page| self.is_dirty(*page)).collect();
        let ranges: Vec<PageRange> = self.table.ranges_in(range).collect();
        let mut two = ranges.windows(2);
        assert!(two.all(|two| two[0].last() + 1 < two[1].first()));
        let listed: Vec<u64> = ranges.iter().flat_map(|range| numbers(*range)).collect();
        assert_eq!(listed, expected);
        assert_eq!(self.table.count_in(range), expected.len() as u64);
        assert_eq!(self.table.any_in(range), !expected.is_empty());
        let mut bits = vec![0u8; range.count().div_ceil(8) as usize];
        for page in expected {
            let bit = (page - range.first()) as usize;
            bits[bit / 8] |= 1 << (bit % 8);
        }
        assert_eq!(bitmap(&self.table, range), bits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Checks that cleared pages were reported, and that the others are still dirty.
    #[test]
    fn after_a_shortage_each_page_is_told_once(
        steps in prop::collection::vec((0u64..600, 1u64..80, any::<bool>()), 1..120),
    ) {
        let mut fallen = Fallen::new();
        for (first, count, mark) in steps {
            let range = PageRange::new(first, count).unwrap();
            match mark {
                true => fallen.mark(range),
                false => fallen.clear(range),
            }
            fallen.compare(PageRange::new(0, 700).unwrap());
            assert!(fallen.table.any_in(PageRange::new(PAGES - 1, 1).unwrap()));
        }
        fallen.clear(PageRange::EVERYTHING);
        assert_eq!((fallen.table.count(), fallen.table.memory()), (0, 0));
    }
}

#[test]
fn a_client_that_asks_in_pieces_is_told_of_everything_once() {
    let mut fallen = Fallen::new();
    // Two parts of the space, as a guest's memory below and above 4 GiB.
    for base in [0, 1 << 20] {
        for piece in 0..100 {
            let range = PageRange::new(base + piece * 512, 512).unwrap();
            assert_eq!(fallen.table.count_in(range), 512);
            fallen.clear(range);
            assert!(!fallen.table.any_in(range));
        }
    }
    // The table tells pages apart again there, and nowhere else.
    fallen.mark(PageRange::new(700, 3).unwrap());
    fallen.mark(PageRange::new((1 << 20) + 9, 1).unwrap());
    fallen.compare(PageRange::new(0, 60_000).unwrap());
    fallen.compare(PageRange::new((1 << 20) - 100, 60_000).unwrap());
    // Every other page: more pieces than the table keeps. Still no page is lost.
    for page in 0..100 {
        fallen.clear(PageRange::new((1 << 30) + 2 * page, 1).unwrap());
    }
    fallen.compare(PageRange::new((1 << 30) - 10, 300).unwrap());
    // After a second shortage all pages are still to be reported.
    alloc::fail_from(0);
    fallen.table.mark(PageRange::new(2000, 512).unwrap());
    alloc::succeed();
    assert_everything(&mut fallen.table);
}

#[test]
fn no_memory_makes_everything_dirty_and_a_restart_ends_it() {
    for successes in 0..8 {
        let mut log = DirtyLog::new();
        log.start();
        alloc::fail_after(successes);
        log.mark(IovaRange::new(0x1000, 1).unwrap());
        log.mark(IovaRange::new(1 << 40, 100 * PAGE_SIZE).unwrap());
        let unused = alloc::succeed();
        let table = log.table().unwrap();
        assert_eq!(is_everything(table), !unused);
        assert!(table.any_in(PageRange::new(1, 1).unwrap()));
        assert!(table.any_in(PageRange::new((1 << 28) + 99, 1).unwrap()));
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
    assert!(log.table().is_err());
    assert_eq!(log.table().err(), Some(EINVAL));
    log.start();
    log.mark(IovaRange::new(0, 1).unwrap());
    assert_eq!(log.table().unwrap().count(), 1);
    log.stop();
    assert_eq!(log.table().err(), Some(EINVAL));
}
