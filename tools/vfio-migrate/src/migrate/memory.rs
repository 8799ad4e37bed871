// SPDX-License-Identifier: GPL-2.0-only

//! Guest memory: what a virtual machine would give its device.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::migrate::digest::Digest;
use crate::migrate::dirty::PAGE;
use crate::sys::Mapping;

/// Memory that a device reaches by DMA. Clones share it.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    mapping: Arc<Mapping>,
}

impl GuestMemory {
    /// I/O virtual address of the first page.
    pub const IOVA: u64 = 0x0100_0000;
    /// Most bytes: all of it, and a [`DmaPage`], lie below the 2^28 that an edu reaches by default.
    pub const MAX: u64 = 0x0e00_0000;

    /// Allocates zeroed memory of that many bytes: whole pages, at most [`Self::MAX`].
    pub fn new(bytes: u64) -> Result<Self> {
        if bytes == 0 || bytes > Self::MAX || bytes % PAGE as u64 != 0 {
            return Err(Error::Protocol(format!(
                "{bytes} bytes of memory: it must be whole pages, at most {} MiB",
                Self::MAX >> 20
            )));
        }
        // CAST: at most `MAX`.
        let mapping = Mapping::anonymous(bytes as usize)
            .map_err(Error::step(format!("allocating {bytes} bytes of memory")))?;
        Ok(Self {
            mapping: Arc::new(mapping),
        })
    }

    /// The memory itself.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.mapping.len() / PAGE
    }

    /// Copies a page out.
    pub fn read_page(&self, page: usize, bytes: &mut [u8; PAGE]) {
        self.mapping.read(page * PAGE, bytes);
    }

    /// Copies a page in.
    pub fn write_page(&self, page: usize, bytes: &[u8; PAGE]) {
        self.mapping.write(page * PAGE, bytes);
    }

    /// Fills all pages with random bytes.
    pub fn randomize(&self, random: &mut fastrand::Rng) {
        let mut bytes = [0; PAGE];
        for page in 0..self.pages() {
            random.fill(&mut bytes);
            self.write_page(page, &bytes);
        }
    }

    /// The pages in which two memories of the same size differ.
    pub fn differences(&self, other: &Self) -> Vec<usize> {
        let (mut ours, mut theirs) = ([0; PAGE], [0; PAGE]);
        let mut differ = Vec::new();
        for page in 0..self.pages() {
            self.read_page(page, &mut ours);
            other.read_page(page, &mut theirs);
            if ours != theirs {
                differ.push(page);
            }
        }
        differ
    }

    /// Digest of the whole content.
    pub fn digest(&self) -> Digest {
        let mut bytes = [0; PAGE];
        let mut digest = Digest::default();
        for page in 0..self.pages() {
            self.read_page(page, &mut bytes);
            digest.update(&bytes);
        }
        digest
    }
}

/// A page of memory at an I/O virtual address, through which a device copies what it holds.
#[derive(Debug)]
pub struct DmaPage {
    /// The page.
    pub memory: Mapping,
    /// Where the device finds it.
    pub iova: u64,
}

impl DmaPage {
    /// Where the page is mapped: above all guest memory.
    pub const IOVA: u64 = GuestMemory::IOVA + GuestMemory::MAX;

    /// A page, not mapped for the device yet.
    pub fn new() -> Result<Self> {
        let memory = Mapping::anonymous(PAGE).map_err(Error::step("allocating a page"))?;
        Ok(Self {
            memory,
            iova: Self::IOVA,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_page_that_differs() {
        let a = GuestMemory::new(8 * PAGE as u64).unwrap();
        let b = GuestMemory::new(8 * PAGE as u64).unwrap();
        a.randomize(&mut fastrand::Rng::with_seed(1));
        b.randomize(&mut fastrand::Rng::with_seed(1));
        assert!(a.differences(&b).is_empty());
        assert_eq!(a.digest(), b.digest());
        b.write_page(5, &[0; PAGE]);
        assert_eq!(a.differences(&b), [5]);
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn sizes() {
        for wrong in [0, 1, 4097, GuestMemory::MAX + 4096] {
            assert!(GuestMemory::new(wrong).is_err());
        }
    }
}
