// SPDX-License-Identifier: GPL-2.0-only

//! The dirty table beside roaring, hi_sparse_bitset, a flat bitmap, and memcpy as the limit.
//!
//! Plain loops time each peer in turn and keep the shortest of several rounds. The output is tables
//! with ratios.

mod measure;
mod print;
mod sets;

use std::{alloc::System, collections::BTreeSet};

use measure::{bytes, copies, mark, memcpy, take, time, visit, Dirty, Random};
use migration::{dirty::table::DirtyTable, iova::PageRange};
use print::{heading, row, Must};
use roaring::RoaringTreemap;
use sets::{Flat, HiSparse, Pages};
use stats_alloc::{StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SPACES: [(&str, u64); 3] = [("1 GiB", 1 << 18), ("64 GiB", 1 << 24), ("1 TiB", 1 << 28)];
const TERA: u64 = 1 << 28;
const ROUNDS: usize = 7;
const PEERS: [&str; 4] = [
    DirtyTable::NAME,
    RoaringTreemap::NAME,
    HiSparse::NAME,
    Flat::NAME,
];

/// Returns the shortest time of several rounds for each peer; the peers take turns.
fn least(mut round: impl FnMut() -> [Option<f64>; 4]) -> [Option<f64>; 4] {
    let mut best = round();
    for _ in 1..ROUNDS {
        for (best, figure) in best.iter_mut().zip(round()) {
            *best = best.zip(figure).map(|(a, b)| a.min(b));
        }
    }
    best
}

/// The same for marks: the sum of the shortest time of each batch.
fn least_marks(mut round: impl FnMut() -> [Option<Vec<f64>>; 4]) -> [Option<f64>; 4] {
    let mut best = round();
    for _ in 1..ROUNDS {
        for (best, figures) in best.iter_mut().zip(round()) {
            if let Some((best, figures)) = best.as_mut().zip(figures) {
                for (best, figure) in best.iter_mut().zip(figures) {
                    *best = best.min(figure);
                }
            }
        }
    }
    best.map(|batches| batches.map(|batches| batches.iter().sum()))
}

/// Returns the ratio of another figure to the first.
fn times(figures: &[Option<f64>; 4], peer: usize) -> f64 {
    figures[peer].unwrap() / figures[0].unwrap()
}

fn marks(random: &mut Random) {
    heading("mark, ns a page", &PEERS);
    for (name, space) in SPACES {
        let count = space.min(1 << 21);
        let from = (space - count) / 2;
        let in_order: Vec<u64> = (from..from + count).collect();
        let at_random: Vec<u64> = (0..1 << 20).map(|_| random.below(space)).collect();
        let bounds = [Must::AtLeast(5.0), Must::AtLeast(2.0)];
        let lists = [("sequential", in_order), ("random", at_random)];
        for ((order, list), must) in lists.iter().zip(bounds) {
            let figures = least_marks(|| {
                [
                    mark::<DirtyTable>(space, list),
                    mark::<RoaringTreemap>(space, list),
                    mark::<HiSparse>(space, list),
                    mark::<Flat>(space, list),
                ]
            })
            .map(|total| total.map(|total| total / list.len() as f64));
            let ratio = times(&figures, 1);
            row(
                &format!("{name}, {order}"),
                &figures,
                &[("roaring/rvfio", ratio, Some(must))],
            );
        }
    }
}

fn queries(random: &mut Random, out: &mut [u8]) {
    let mut columns = PEERS.to_vec();
    columns.push("memcpy");
    heading("query and clear all, us", &columns);
    for (name, space) in &SPACES[1..] {
        for count in [0, 1000, 1_000_000, *space] {
            let list: Vec<u64> = match count {
                _ if count == *space => Vec::new(),
                _ => (0..count).map(|_| random.below(*space)).collect(),
            };
            let dirty = match count {
                _ if count == *space => Dirty::All,
                _ => Dirty::Pages(&list),
            };
            let us = |nanoseconds: f64| nanoseconds / 1000.0;
            let mut copy = f64::MAX;
            let figures = least(|| {
                copy = copy.min(us(memcpy(*space, out)));
                [
                    take::<DirtyTable>(*space, &dirty, out).map(us),
                    take::<RoaringTreemap>(*space, &dirty, out).map(us),
                    take::<HiSparse>(*space, &dirty, out).map(us),
                    take::<Flat>(*space, &dirty, out).map(us),
                ]
            });
            let own = figures[0].unwrap();
            let is_largest = *space == TERA;
            let ratio = match count {
                0 => ("flat/rvfio", times(&figures, 3), None),
                1000 => {
                    let must = is_largest.then_some(Must::AtLeast(200.0));
                    ("flat/rvfio", times(&figures, 3), must)
                }
                1_000_000 => ("flat/rvfio", times(&figures, 3), None),
                _ => ("memcpy/rvfio", copy / own, Some(Must::AtLeast(0.8))),
            };
            let pages = match count {
                _ if count == *space => "all".to_string(),
                _ => count.to_string(),
            };
            let figures = [&figures[..], &[Some(copy)]].concat();
            row(&format!("{name}, {pages} dirty"), &figures, &[ratio]);
        }
    }
}

/// Times queries of few pages without the caller's bitmap. Writes to the bitmap miss the cache and
/// the TLB, and would take most of the time.
fn visits(random: &mut Random) {
    heading("visit and clear, us", &[DirtyTable::NAME, Flat::NAME]);
    let list: Vec<u64> = (0..1000).map(|_| random.below(TERA)).collect();
    let (mut own, mut flat) = (f64::MAX, f64::MAX);
    for _ in 0..3 * ROUNDS {
        own = own.min(visit::<DirtyTable>(TERA, &list));
        flat = flat.min(visit::<Flat>(TERA, &list));
    }
    let figures = [Some(own / 1000.0), Some(flat / 1000.0)];
    let must = Some(Must::AtLeast(200.0));
    row(
        "1 TiB, 1000 dirty",
        &figures,
        &[("flat/rvfio", flat / own, must)],
    );
}

/// Times queries of any alignment, as a whole and in pieces as large as a client's data section.
fn forms(out: &mut [u8]) {
    heading("the same, all of 64 GiB dirty, us", &["rvfio", "memcpy"]);
    let space = SPACES[1].1;
    let must = || Some(Must::AtLeast(0.8));
    for (name, first, piece, one_by_one, must) in [
        ("from page 64 on", 64, space, false, must()),
        ("from page 1 on", 1, space, false, must()),
        ("marked one by one", 0, space, true, None),
        ("in pieces of 256 KiB", 0, 8 * (256 << 10), false, must()),
        ("the same from page 1 on", 1, 8 * (256 << 10), false, must()),
        ("in pieces of 16 KiB", 0, 8 * (16 << 10), false, must()),
        ("the same from page 1 on", 1, 8 * (16 << 10), false, must()),
        // A copy of 4 KiB, in the nearest cache, takes no longer than to find out what to copy.
        ("in pieces of 4 KiB", 0, 8 * (4 << 10), false, None),
    ] {
        let (mut own, mut copy) = (f64::MAX, f64::MAX);
        let range = PageRange::new(first, space).unwrap();
        let out = &mut out[..piece as usize / 8];
        for _ in 0..3 * ROUNDS {
            copy = copy.min(copies(space, out));
            let mut table = DirtyTable::new();
            match one_by_one {
                true => (range.first()..=range.last())
                    .for_each(|page| table.mark(PageRange::new(page, 1).unwrap())),
                false => table.mark(range),
            }
            out.fill(0);
            own = own.min(time(|| {
                for at in (0..space).step_by(piece as usize) {
                    let range = PageRange::new(first + at, piece).unwrap();
                    sets::take(&mut table, range, &mut |at, bytes| {
                        out[at..at + bytes.len()].copy_from_slice(bytes);
                        Ok(())
                    });
                }
            }));
        }
        let figures = [Some(own / 1000.0), Some(copy / 1000.0)];
        row(name, &figures, &[("memcpy/rvfio", copy / own, must)]);
    }
}

/// Times queries that find nothing dirty, in spaces of all sizes.
fn nothing() {
    heading("query and clear, none dirty, ns", &["rvfio"]);
    let mut least = Vec::new();
    for (name, pages) in [
        ("1 GiB", 1 << 18),
        ("1 TiB", TERA),
        ("16 EiB, the whole space", 1 << 52),
    ] {
        let range = PageRange::new(0, pages).unwrap();
        let mut own = f64::MAX;
        for _ in 0..ROUNDS {
            let mut table = DirtyTable::new();
            // Something else is dirty, unless the query covers the whole space.
            if pages < 1 << 52 {
                table.mark(PageRange::new(1 << 40, 1000).unwrap());
            }
            let spent = time(|| {
                for _ in 0..10_000 {
                    let table = std::hint::black_box(&mut table);
                    sets::take(table, range, &mut |_, _| Ok(()));
                }
            });
            own = own.min(spent / 10_000.0);
        }
        least.push(own);
        let ratio = own / least[0];
        row(
            name,
            &[Some(own)],
            &[("of that for 1 GiB", ratio, Some(Must::AtMost(1.5)))],
        );
    }
}

fn memory(random: &mut Random) {
    heading("memory, bytes a dirty page", &PEERS);
    let mut scattered = BTreeSet::new();
    while scattered.len() < 1000 {
        scattered.insert(random.below(TERA));
    }
    let scattered: Vec<u64> = scattered.into_iter().collect();
    let even: Vec<u64> = (0..1000).map(|number| number * TERA / 1000).collect();
    let many: BTreeSet<u64> = (0..1_000_000).map(|_| random.below(TERA)).collect();
    let many: Vec<u64> = many.into_iter().collect();
    let most = || Some(Must::AtMost(128.0));
    for (name, dirty, count, must) in [
        (
            "1 TiB, 1000 pages at random",
            Dirty::Pages(&scattered),
            1000,
            most(),
        ),
        (
            "1 TiB, 1000 pages evenly",
            Dirty::Pages(&even),
            1000,
            most(),
        ),
        (
            "1 TiB, 1M pages at random",
            Dirty::Pages(&many),
            many.len(),
            None,
        ),
        (
            "1 TiB, all",
            Dirty::All,
            TERA as usize,
            Some(Must::AtMost(4096.0 / 16_000.0)),
        ),
    ] {
        let page = |bytes: f64| bytes / count as f64;
        let figures = [
            bytes::<DirtyTable>(TERA, &dirty).map(page),
            bytes::<RoaringTreemap>(TERA, &dirty).map(page),
            bytes::<HiSparse>(TERA, &dirty).map(page),
            bytes::<Flat>(TERA, &dirty).map(page),
        ];
        row(name, &figures, &[("rvfio", figures[0].unwrap(), must)]);
    }
    println!("all dirty must be <= 1/16,000 of the memory: 0.256 bytes a page");
}

fn main() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut out = vec![1; TERA as usize / 8];
    println!("least of {ROUNDS} rounds; hi_sparse_bitset ends at 64 GiB");
    marks(&mut random);
    queries(&mut random, &mut out);
    visits(&mut random);
    forms(&mut out);
    nothing();
    memory(&mut random);
}
