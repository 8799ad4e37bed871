// SPDX-License-Identifier: GPL-2.0-only

//! What the benchmark measures: times and memory.

use std::{hint::black_box, time::Instant};

use stats_alloc::Region;

use crate::{
    sets::{Pages, Visit},
    ALLOCATOR,
};

/// Generates random numbers, the same in each run: xorshift64*.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        // The upper bits are the better ones.
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit
    }
}

/// Returns the nanoseconds that `work` takes.
pub fn time(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e9
}

/// Marks that are timed together: too few to be interrupted often.
const BATCH: usize = 4096;

/// Returns the nanoseconds of each batch of marks of `list` in an empty set; none if the set is too
/// small.
pub fn mark<P: Pages>(space: u64, list: &[u64]) -> Option<Vec<f64>> {
    (space <= P::MOST).then(|| {
        let mut set = P::new(space);
        let batches = list.chunks(BATCH);
        let spent = batches
            .map(|batch| time(|| batch.iter().for_each(|page| set.mark(*page))))
            .collect();
        black_box(&set);
        spent
    })
}

/// What is dirty when a space is queried.
pub enum Dirty<'a> {
    Pages(&'a [u64]),
    All,
}

impl Dirty<'_> {
    fn set<P: Pages>(&self, space: u64) -> P {
        let mut set = P::new(space);
        match self {
            Self::Pages(list) => list.iter().for_each(|page| set.mark(*page)),
            Self::All => set.fill(space),
        }
        set
    }
}

/// Returns the nanoseconds of a query that clears the whole space; none if the set is too small.
pub fn take<P: Pages>(space: u64, dirty: &Dirty, out: &mut [u8]) -> Option<f64> {
    (space <= P::MOST).then(|| {
        let mut set: P = dirty.set(space);
        let out = &mut out[..space as usize / 8];
        // Each peer finds the same caches: they hold the end of the memory that was zeroed.
        out.fill(0);
        let spent = time(|| set.take(space, out));
        black_box(&set);
        spent
    })
}

/// Returns the nanoseconds of a query that clears and writes nothing.
pub fn visit<P: Visit>(space: u64, list: &[u64]) -> f64 {
    let mut set: P = Dirty::Pages(list).set(space);
    let spent = time(|| {
        black_box(set.visit(space));
    });
    black_box(&set);
    spent
}

/// Returns the bytes that the set has allocated; none if it is too small.
pub fn bytes<P: Pages>(space: u64, dirty: &Dirty) -> Option<f64> {
    (space <= P::MOST).then(|| {
        let region = Region::new(ALLOCATOR);
        let set: P = dirty.set(space);
        let change = region.change();
        black_box(&set);
        change.bytes_allocated as f64 - change.bytes_deallocated as f64
    })
}

/// Returns the nanoseconds that it takes to copy a bitmap of the whole space.
pub fn memcpy(space: u64, out: &mut [u8]) -> f64 {
    copies(space, &mut out[..space as usize / 8])
}

/// Returns the nanoseconds that it takes to copy such a bitmap in pieces as large as `out`.
pub fn copies(space: u64, out: &mut [u8]) -> f64 {
    let from = vec![0xffu8; space as usize / 8];
    out.fill(0);
    time(|| {
        for piece in from.chunks_exact(out.len()) {
            out.copy_from_slice(piece);
            black_box(&mut *out);
        }
    })
}
