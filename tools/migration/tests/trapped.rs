// SPDX-License-Identifier: GPL-2.0-only

//! Trapped ranges: tables that are refused, borders, and what can be mapped.

use migration::trapped::{Run, Trapped, Traps};
use proptest::prelude::*;

const PAGE: u64 = 4096;

/// No MSI-X table.
const NONE: std::ops::Range<u64> = 0..0;

/// Two ranges of BAR 0, not in order, and all of BAR 2.
const TABLE: Traps = Traps::new(
    &[
        Trapped::pages(0, 0x4000..0x6000),
        Trapped::bar(2),
        Trapped::pages(0, 0..0x1000),
    ],
    PAGE,
);

const fn trapped(end: u64) -> Run {
    Run {
        is_trapped: true,
        end,
    }
}

const fn plain(end: u64) -> Run {
    Run {
        is_trapped: false,
        end,
    }
}

/// Checks a table that is not a constant.
fn check(table: &[Trapped]) -> Traps {
    Traps::new(Vec::leak(table.to_vec()), PAGE)
}

#[test]
fn tables_that_are_taken() {
    assert!(check(&[]).is_empty());
    assert!(!TABLE.is_empty());
    for bar in 0..6 {
        assert!(check(&[Trapped::bar(bar)]).has(bar));
        assert!(!check(&[Trapped::bar(bar)]).has((bar + 1) % 6));
        assert!(!check(&[]).has(bar));
    }
    // Neighbours do not overlap, nor does the same range of two BARs.
    check(&[
        Trapped::pages(0, 0..PAGE),
        Trapped::pages(0, PAGE..2 * PAGE),
        Trapped::pages(1, 0..PAGE),
    ]);
}

#[test]
#[should_panic(expected = "none of the six")]
fn a_seventh_bar() {
    check(&[Trapped::bar(6)]);
}

#[test]
#[should_panic(expected = "is empty")]
fn no_bytes() {
    check(&[Trapped::pages(0, PAGE..PAGE)]);
}

#[test]
#[should_panic(expected = "is empty")]
fn bytes_backwards() {
    let (start, end) = (2 * PAGE, PAGE);
    check(&[Trapped::pages(0, start..end)]);
}

#[test]
#[should_panic(expected = "not whole pages")]
fn a_start_within_a_page() {
    check(&[Trapped::pages(0, 0x800..PAGE)]);
}

#[test]
#[should_panic(expected = "not whole pages")]
fn an_end_within_a_page() {
    check(&[Trapped::pages(0, 0..0x1800)]);
}

#[test]
#[should_panic(expected = "not whole pages")]
fn pages_of_another_kernel() {
    static TABLE: [Trapped; 1] = [Trapped::pages(0, 0..PAGE)];
    Traps::new(&TABLE, 16 * PAGE);
}

#[test]
#[should_panic(expected = "overlap")]
fn an_overlap() {
    check(&[
        Trapped::pages(0, 2 * PAGE..4 * PAGE),
        Trapped::pages(1, 0..PAGE),
        Trapped::pages(0, 0..3 * PAGE),
    ]);
}

#[test]
#[should_panic(expected = "overlap")]
fn a_part_of_a_whole_bar() {
    check(&[Trapped::pages(3, PAGE..2 * PAGE), Trapped::bar(3)]);
}

#[test]
fn bars_that_are_trapped_as_a_whole() {
    let table = [
        Trapped::bar(0),
        Trapped::pages(1, 0..0x1000),
        Trapped::pages(2, 0x1000..u64::MAX),
        Trapped::bar(5),
    ];
    let expected = [true, false, false, false, false, true];
    assert_eq!(check(&table).whole(), expected);
    assert_eq!(check(&[]).whole(), [false; 6]);
}

#[test]
fn runs_end_at_the_borders() {
    for (offset, expected) in [
        (0, trapped(0x1000)),
        (0xfff, trapped(0x1000)),
        (0x1000, plain(0x4000)),
        (0x3fff, plain(0x4000)),
        (0x4000, trapped(0x6000)),
        (0x5fff, trapped(0x6000)),
        (0x6000, plain(u64::MAX)),
        (u64::MAX, plain(u64::MAX)),
    ] {
        assert_eq!(TABLE.run_at(0, offset, NONE), expected, "{offset:#x}");
    }
    assert_eq!(TABLE.run_at(1, 0, NONE), plain(u64::MAX));
    assert_eq!(TABLE.run_at(2, 1 << 39, NONE), trapped(u64::MAX));
}

#[test]
fn the_interrupt_table_is_never_trapped() {
    // In a trapped page, across a border into one, out of one, and in a plain page.
    for (table, offset, expected) in [
        (0x4100..0x4200, 0x3fff, plain(0x4000)),
        (0x4100..0x4200, 0x4000, trapped(0x4100)),
        (0x4100..0x4200, 0x4100, plain(0x4200)),
        (0x4100..0x4200, 0x41ff, plain(0x4200)),
        (0x4100..0x4200, 0x4200, trapped(0x6000)),
        (0x3f00..0x4100, 0x3f00, plain(0x4000)),
        (0x3f00..0x4100, 0x4000, plain(0x4100)),
        (0x3f00..0x4100, 0x4100, trapped(0x6000)),
        (0x5f00..0x6100, 0x5000, trapped(0x5f00)),
        (0x5f00..0x6100, 0x5f00, plain(0x6000)),
        (0x7000..0x7100, 0x4000, trapped(0x6000)),
        (0x7000..0x7100, 0x6000, plain(u64::MAX)),
    ] {
        assert_eq!(
            TABLE.run_at(0, offset, table.clone()),
            expected,
            "{table:x?} {offset:#x}"
        );
    }
    assert_eq!(TABLE.run_at(2, 0, 0x100..0x200), trapped(0x100));
    assert_eq!(TABLE.run_at(2, 0x200, 0x100..0x200), trapped(u64::MAX));
}

#[test]
fn overlaps() {
    for (bytes, expected) in [
        (0..1, true),
        (0xfff..0x1000, true),
        (0x1000..0x4000, false),
        (0x1000..0x4001, true),
        (0x5fff..0x7000, true),
        (0x6000..u64::MAX, false),
        (0..u64::MAX, true),
    ] {
        assert_eq!(TABLE.overlap(0, bytes.clone()), expected, "{bytes:x?}");
    }
    assert!(!TABLE.overlap(1, 0..u64::MAX));
    assert!(TABLE.overlap(2, 0..1));
}

#[test]
fn what_can_be_mapped() {
    let mappable = |bar, len| -> Vec<_> {
        let parts = TABLE.mappable(bar, len);
        parts.map(|part| (part.start, part.end)).collect()
    };
    assert_eq!(mappable(0, 0x10000), [(0x1000, 0x4000), (0x6000, 0x10000)]);
    assert_eq!(mappable(0, 0x6000), [(0x1000, 0x4000)]);
    assert_eq!(mappable(0, 0x2000), [(0x1000, 0x2000)]);
    // No more than a trapped page, or less.
    assert_eq!(mappable(0, 0x1000), []);
    assert_eq!(mappable(0, 0x100), []);
    assert_eq!(mappable(0, 0), []);
    assert_eq!(mappable(1, 0x100), [(0, 0x100)]);
    assert_eq!(mappable(2, 1 << 39), []);
}

proptest! {
    /// Runs, overlaps and the parts that can be mapped say the same of every page.
    #[test]
    fn all_answers_agree(
        pages in proptest::collection::vec(any::<bool>(), 1..24),
        table in (0..24 * PAGE, 0..3 * PAGE),
    ) {
        let mut entries: Vec<_> = (0..)
            .zip(&pages)
            .filter(|(_, is_trapped)| **is_trapped)
            .map(|(page, _)| Trapped::pages(4, page * PAGE..(page + 1) * PAGE))
            .collect();
        entries.reverse();
        let traps = check(&entries);
        let len = pages.len() as u64 * PAGE;
        let mapped: Vec<_> = traps.mappable(4, len).collect();
        for (page, is_trapped) in (0..).zip(&pages) {
            let bytes = page * PAGE..(page + 1) * PAGE;
            prop_assert_eq!(traps.overlap(4, bytes.clone()), *is_trapped);
            let within = |part: &&std::ops::Range<u64>| {
                part.start <= bytes.start && bytes.end <= part.end
            };
            prop_assert_eq!(mapped.iter().filter(within).count(), usize::from(!*is_trapped));
        }
        prop_assert!(mapped.windows(2).all(|pair| pair[0].end < pair[1].start));

        // A walk from run to run meets each byte once, and the driver those that are its own.
        let msix = table.0..table.0 + table.1;
        let mut at = 0;
        let mut steps = 0;
        while at < len {
            let run = traps.run_at(4, at, msix.clone());
            prop_assert!(run.end > at);
            for byte in [at, run.end.min(len) - 1] {
                let is_trapped = pages[(byte / PAGE) as usize] && !msix.contains(&byte);
                prop_assert_eq!(run.is_trapped, is_trapped, "byte {:#x}", byte);
            }
            at = run.end;
            steps += 1;
        }
        prop_assert!(steps <= 2 * entries.len() + 4);
    }
}
