// SPDX-License-Identifier: GPL-2.0-only

//! CRC-32C (Castagnoli), the checksum of the image format.
//!
//! Reflected polynomial 0x82f63b78, initial value and final exclusive or 0xffffffff: the checksum
//! of iSCSI (RFC 3720), ext4 and Btrfs. `crc32c(b"123456789")` is 0xe3069283.

/// The polynomial, bits reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Effect of each value of a byte on the checksum.
static TABLE: [u32; 256] = table();

/// Computes [`TABLE`].
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        // CAST: `index` is below 256.
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// The checksum of bytes that come in pieces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Returns the checksum of no bytes.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// Adds more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let [low, ..] = self.0.to_le_bytes();
            // An index made of one byte cannot leave the table.
            self.0 = TABLE[usize::from(low ^ byte)] ^ (self.0 >> 8);
        }
    }

    /// Returns the checksum of the bytes so far.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(bytes);
    crc.value()
}
