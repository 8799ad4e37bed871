// SPDX-License-Identifier: GPL-2.0-only

//! The dirty table against a plain set of pages.

use std::{collections::BTreeSet, ops::RangeInclusive};

use arbitrary::{Arbitrary, Unstructured};
use kernel::alloc;
use migration::{
    dirty::table::DirtyTable,
    iova::{PageRange, PAGES},
};

/// Most pages that a step names, since the model keeps each one by itself.
const MOST: u64 = 1 << 12;

/// First pages of ranges: near the edges of a table's parts.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Base {
    Zero,
    Word,
    Leaf,
    Stretch,
    Far,
    End,
}

/// A range of pages.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Pages {
    base: Base,
    offset: u16,
    count: u16,
}

impl Pages {
    fn range(self) -> PageRange {
        let base = match self.base {
            Base::Zero => 0,
            Base::Word => 32,
            Base::Leaf => 512 - 8,
            Base::Stretch => (1 << 16) - 64,
            Base::Far => 1 << 40,
            Base::End => PAGES - MOST,
        };
        let first = base + u64::from(self.offset) % MOST;
        let count = (u64::from(self.count) % MOST + 1).min(PAGES - first);
        PageRange::new(first, count).unwrap()
    }
}

/// A step, taken by both.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Mark(Pages),
    Clear(Pages),
    Bitmap(Pages),
    Any(Pages),
    List,
    /// A mark while memory runs out.
    Starved(Pages, u8),
    ClearAll,
    /// A mark of each page by itself.
    Each(Pages),
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut table = DirtyTable::new();
    let mut set = BTreeSet::new();
    for _ in 0..64 {
        let Ok(step) = Step::arbitrary(&mut input) else {
            break;
        };
        apply(&mut table, &mut set, step);
        if table.is_uncertain() {
            gave_up(&mut table);
            set.clear();
        }
        assert_eq!(table.count(), set.len() as u64);
        if input.is_empty() {
            break;
        }
    }
    alloc::succeed();
}

fn apply(table: &mut DirtyTable, set: &mut BTreeSet<u64>, step: Step) {
    match step {
        Step::Mark(pages) => {
            table.mark(pages.range());
            set.extend(numbers(pages.range()));
        }
        Step::Each(pages) => {
            for page in numbers(pages.range()) {
                table.mark(PageRange::new(page, 1).unwrap());
                set.insert(page);
            }
        }
        Step::Clear(pages) => {
            let range = pages.range();
            table.clear(range);
            set.retain(|page| !(range.first()..=range.last()).contains(page));
        }
        Step::ClearAll => {
            table.clear(PageRange::EVERYTHING);
            set.clear();
        }
        Step::Starved(pages, successes) => {
            alloc::fail_from(u64::from(successes % 16));
            table.mark(pages.range());
            alloc::succeed();
            set.extend(numbers(pages.range()));
        }
        Step::Bitmap(pages) => {
            assert_eq!(bitmap(table, pages.range()), expected(set, pages.range()))
        }
        Step::Any(pages) => {
            let range = pages.range();
            let any = set.range(range.first()..=range.last()).next().is_some();
            assert_eq!(table.any_in(range), any);
        }
        Step::List => {
            let ranges: Vec<PageRange> = table.ranges().collect();
            assert!(ranges
                .windows(2)
                .all(|two| two[0].last() + 1 < two[1].first()));
            assert!(ranges
                .iter()
                .flat_map(|range| numbers(*range))
                .eq(set.iter().copied()));
        }
    }
}

/// Checks that a table that gave up reports all pages, once.
fn gave_up(table: &mut DirtyTable) {
    assert_eq!(table.count(), PAGES);
    assert!(table.any_in(PageRange::new(PAGES / 2, 1).unwrap()));
    assert!(table.ranges().eq([PageRange::EVERYTHING]));
    let range = PageRange::new(3, 13).unwrap();
    assert_eq!(bitmap(table, range), [0xff, 0x1f]);
    table.clear(range);
    assert!(!table.any_in(range));
    assert_eq!(table.count(), PAGES - 13);
    table.mark(PageRange::new(5, 1).unwrap());
    assert_eq!(bitmap(table, range), [4, 0]);
    table.clear(PageRange::EVERYTHING);
    assert_eq!(table.count(), 0);
}

/// The bitmap of `range` as the table tells it.
fn bitmap(table: &DirtyTable, range: PageRange) -> Vec<u8> {
    let mut bitmap = vec![0; bytes(range)];
    let mut end = 0;
    table
        .bitmap(range, &mut |offset, bytes| {
            assert!(offset >= end && !bytes.is_empty());
            end = offset + bytes.len();
            bitmap[offset..end].copy_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    bitmap
}

/// The bitmap of `range` as a set tells it.
fn expected(set: &BTreeSet<u64>, range: PageRange) -> Vec<u8> {
    let mut bitmap = vec![0; bytes(range)];
    for page in set.range(range.first()..=range.last()) {
        let bit = (page - range.first()) as usize;
        bitmap[bit / 8] |= 1 << (bit % 8);
    }
    bitmap
}

/// The numbers of the pages in ascending order.
fn numbers(range: PageRange) -> RangeInclusive<u64> {
    range.first()..=range.last()
}

fn bytes(range: PageRange) -> usize {
    range.count().div_ceil(8) as usize
}
