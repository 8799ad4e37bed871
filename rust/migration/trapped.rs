// SPDX-License-Identifier: GPL-2.0-only

//! Which bytes of a device's BARs its driver decodes.

use core::{
    iter,
    ops::Range, //
};

/// Number of standard base address registers.
pub const BARS: u8 = 6;

/// Bytes of a BAR whose accesses the driver decodes. They cannot be mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trapped {
    bar: u8,
    /// The first byte.
    start: u64,
    /// The byte after the last.
    end: u64,
}

impl Trapped {
    /// Returns a whole BAR, whatever its size; BARs are numbered from 0 to 5.
    pub const fn bar(bar: u8) -> Self {
        Self {
            bar,
            start: 0,
            end: u64::MAX,
        }
    }

    /// Returns whole pages of a BAR; `bytes` are offsets within the BAR.
    ///
    /// The range may go beyond the end of the BAR.
    pub const fn pages(bar: u8, bytes: Range<u64>) -> Self {
        Self {
            bar,
            start: bytes.start,
            end: bytes.end,
        }
    }
}

/// Neighbouring bytes of a BAR that are handled in the same way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// The driver decodes accesses.
    pub is_trapped: bool,
    /// The byte after the last.
    pub end: u64,
}

/// All that a driver traps.
///
/// # Invariants
///
/// Each entry is whole pages of one of six BARs, and no two overlap.
#[derive(Clone, Copy)]
pub struct Traps(&'static [Trapped]);

impl Traps {
    /// Checks a table; a mistake in it ends the build, since the call must be in a constant.
    ///
    /// `page_size` is in bytes.
    #[inline]
    pub const fn new(table: &'static [Trapped], page_size: u64) -> Self {
        let mut rest = table;
        while let [first, others @ ..] = rest {
            assert!(first.bar < BARS, "a trapped BAR is none of the six");
            assert!(first.start < first.end, "a trapped range is empty");
            assert!(
                first.start % page_size == 0
                    && (first.end % page_size == 0 || first.end == u64::MAX),
                "a trapped range is not whole pages"
            );
            let mut later = others;
            while let [other, more @ ..] = later {
                assert!(
                    first.bar != other.bar || first.end <= other.start || other.end <= first.start,
                    "two trapped ranges overlap"
                );
                later = more;
            }
            rest = others;
        }
        // INVARIANT: Every entry, and every pair of them, was just checked.
        Self(table)
    }

    /// Returns whether the driver traps nothing at all.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether any byte of a BAR is trapped.
    #[inline]
    pub fn has(self, bar: u8) -> bool {
        self.of(bar).next().is_some()
    }

    /// Returns which BARs are trapped as a whole.
    pub const fn whole(self) -> [bool; BARS as usize] {
        let mut whole = [false; BARS as usize];
        let mut rest = self.0;
        while let [first, others @ ..] = rest {
            if first.start == 0 && first.end == u64::MAX {
                // CAST: Widening. By the type invariant there is such a BAR.
                whole[first.bar as usize] = true;
            }
            rest = others;
        }
        whole
    }

    /// Returns whether any of these bytes of a BAR is trapped.
    pub fn overlap(self, bar: u8, bytes: Range<u64>) -> bool {
        self.of(bar)
            .any(|range| range.start < bytes.end && bytes.start < range.end)
    }

    /// Returns what an offset in a BAR belongs to, and where that ends.
    ///
    /// `table` are the bytes of the MSI-X table, if the BAR has it. They are never trapped.
    #[inline]
    pub fn run_at(self, bar: u8, offset: u64, table: Range<u64>) -> Run {
        let run = self.whole_run_at(bar, offset);
        if !run.is_trapped || table.end <= offset || table.is_empty() {
            return run;
        }
        let is_trapped = offset < table.start;
        let end = match is_trapped {
            true => table.start,
            false => table.end,
        };
        Run {
            is_trapped,
            end: end.min(run.end),
        }
    }

    /// Returns the parts of a BAR of `len` bytes that can be mapped, in order.
    pub fn mappable(self, bar: u8, len: u64) -> impl Iterator<Item = Range<u64>> + Clone {
        let mut at = 0;
        iter::from_fn(move || {
            while at < len {
                let run = self.whole_run_at(bar, at);
                let part = at..run.end.min(len);
                at = part.end;
                if !run.is_trapped {
                    return Some(part);
                }
            }
            None
        })
    }

    /// Returns the entries of a BAR.
    #[inline]
    fn of(self, bar: u8) -> impl Iterator<Item = &'static Trapped> {
        self.0.iter().filter(move |range| range.bar == bar)
    }

    /// Does what [`Self::run_at`] does for a BAR without an MSI-X table.
    #[inline]
    fn whole_run_at(self, bar: u8, offset: u64) -> Run {
        let mut run = Run {
            is_trapped: false,
            end: u64::MAX,
        };
        for range in self.of(bar) {
            if (range.start..range.end).contains(&offset) {
                return Run {
                    is_trapped: true,
                    end: range.end,
                };
            }
            if offset < range.start {
                run.end = run.end.min(range.start);
            }
        }
        run
    }
}
