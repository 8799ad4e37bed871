// SPDX-License-Identifier: GPL-2.0-only

//! Length and digest of a stream that is too long to be held.

use std::fmt;

use crate::migrate::digest::Digest;

/// Length and digest of bytes that come in pieces of any size.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    length: u64,
    digest: Digest,
    /// Bytes that are no whole word yet, fewer than eight.
    rest: Vec<u8>,
}

impl Sum {
    /// The sum of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.update(bytes);
        sum
    }

    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        // CAST: widening.
        self.length = self.length.saturating_add(bytes.len() as u64);
        let missing = (8 - self.rest.len()).min(bytes.len());
        let (head, bytes) = bytes.split_at(missing);
        self.rest.extend_from_slice(head);
        if self.rest.len() < 8 {
            return;
        }
        self.digest.update(&self.rest);
        let (words, rest) = bytes.split_at(bytes.len() / 8 * 8);
        self.digest.update(words);
        self.rest = rest.to_vec();
    }

    /// How many bytes there were.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the whole words and of the rest.
    fn digest(&self) -> Digest {
        let mut last = [0; 8];
        last[..self.rest.len()].copy_from_slice(&self.rest);
        let mut digest = self.digest;
        digest.update(&last);
        digest
    }
}

impl PartialEq for Sum {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.digest() == other.digest()
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes ({})", self.length, self.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter_and_bytes_do() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = Sum::of(&bytes);
        assert_eq!(whole.length(), 100);
        for size in 1..40 {
            let mut sum = Sum::default();
            bytes.chunks(size).for_each(|piece| sum.update(piece));
            assert!(sum == whole, "{size}");
        }
        for at in 0..100 {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Sum::of(&other) != whole, "{at}");
        }
        assert!(Sum::of(&bytes[..99]) != whole);
        assert!(Sum::of(&[0]) != Sum::of(&[0, 0]));
    }
}
