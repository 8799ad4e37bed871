// SPDX-License-Identifier: GPL-2.0-only

//! The dirty pages as the operator reads them.

use migration::{
    dirty::{
        snapshot::{Snapshot, MAX_RANGES},
        table::DirtyTable,
        DirtyLog,
    },
    iova::{IovaRange, PageRange, PAGE_SIZE},
};

/// A log that tracks and in which those bytes were marked.
fn log(marked: &[(u64, u64)]) -> DirtyLog {
    let mut log = DirtyLog::new();
    log.start();
    for (start, len) in marked {
        log.mark(IovaRange::new(*start, *len).unwrap());
    }
    log
}

fn text(log: &DirtyLog) -> String {
    Snapshot(log).to_string()
}

#[test]
fn what_is_not_tracked_is_said() {
    assert_eq!(text(&DirtyLog::new()), "dirty_pages: not tracked\n");
    assert_eq!(text(&log(&[])), "dirty_pages: 0\n");
    let mut log = log(&[(0, 1)]);
    log.stop();
    assert_eq!(text(&log), "dirty_pages: not tracked\n");
}

#[test]
fn pages_are_ranges_of_addresses() {
    let end = u64::MAX - PAGE_SIZE + 1;
    let log = log(&[
        (end, 1),
        (0x10_0ffe, 4),
        (0, 1),
        (0x10_2000, 0x1000),
        (7 << 40, 9),
    ]);
    let expected = "\
dirty_pages: 6
0x0-0xfff
0x100000-0x102fff
0x70000000000-0x70000000fff
0xfffffffffffff000-0xffffffffffffffff
";
    assert_eq!(text(&log), expected);
    // Looking changes nothing.
    assert_eq!(text(&log), expected);
    assert_eq!(log.table().unwrap().count(), 6);
}

#[test]
fn everything_is_one_line() {
    assert_eq!(text(&log(&[(0, u64::MAX)])), "dirty_pages: everything\n");
    let mut table = DirtyTable::new();
    table.mark(PageRange::EVERYTHING);
    table.clear(PageRange::new(5, 7).unwrap());
    assert!(table.is_uncertain() && !table.ranges().eq([PageRange::EVERYTHING]));
    table.clear(PageRange::EVERYTHING);
    assert!(!table.is_uncertain());
}

#[test]
fn the_length_is_bounded_and_what_is_left_out_is_counted() {
    let mut log = log(&[]);
    let place = |n: usize| (u64::MAX >> 1) + 1 + n as u64 * 2 * PAGE_SIZE;
    for n in 0..MAX_RANGES {
        log.mark(IovaRange::new(place(n), 1).unwrap());
    }
    let full = text(&log);
    assert_eq!(full.lines().count(), 1 + MAX_RANGES);
    assert!(
        full.lines().all(|line| line.len() < 38),
        "38 with the end of the line"
    );

    log.mark(IovaRange::new(place(MAX_RANGES), 1).unwrap());
    log.mark(IovaRange::new(place(MAX_RANGES + 1), 2 * PAGE_SIZE).unwrap());
    let more = text(&log);
    let lines: Vec<&str> = more.lines().collect();
    assert_eq!(lines.len(), 2 + MAX_RANGES);
    assert_eq!(lines[0], format!("dirty_pages: {}", MAX_RANGES + 3));
    assert_eq!(lines[1..=MAX_RANGES], full.lines().collect::<Vec<_>>()[1..]);
    assert_eq!(lines[1 + MAX_RANGES], "left_out: 3");
}
