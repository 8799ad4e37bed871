// SPDX-License-Identifier: GPL-2.0-only

//! The configuration space of a PCI function, as far as the checks know it.

/// Bytes of the space that every function has.
pub const SIZE: usize = 256;
/// Offset of the command register, which has two bytes.
pub const COMMAND: u64 = 4;

const STATUS: usize = 6;
/// The function has a list of capabilities.
const CAPABILITIES: u8 = 1 << 4;
/// Offset of the pointer to the first of them.
const FIRST: usize = 0x34;
/// The PCI Express capability, and the bits that announce and begin a function level reset.
const EXPRESS: u8 = 0x10;
const EXPRESS_CAN_RESET: u8 = 1 << 4;
const EXPRESS_RESET: u16 = 1 << 15;
/// The advanced features capability of conventional PCI, likewise.
const ADVANCED: u8 = 0x13;
const ADVANCED_CAN_RESET: u8 = 1 << 1;
const ADVANCED_RESET: u8 = 1;

/// A write to the configuration space that resets the function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flr {
    /// Offset in the configuration space.
    pub at: u64,
    /// The bytes to write.
    pub bytes: Vec<u8>,
}

/// Finds the write that resets a function; `None` if it has no function level reset.
pub fn flr(config: &[u8; SIZE]) -> Option<Flr> {
    if config[STATUS] & CAPABILITIES == 0 {
        return None;
    }
    let mut at = usize::from(config[FIRST] & 0xfc);
    // No more than there is room for: the list of a faulty device may be a ring.
    for _ in 0..SIZE / 4 {
        // The header that every function has comes before all capabilities.
        if at < 0x40 {
            return None;
        }
        let capability = &config[at..];
        match capability[0] {
            EXPRESS if *capability.get(7)? & EXPRESS_CAN_RESET != 0 => {
                let control = u16::from_le_bytes(capability.get(8..10)?.try_into().ok()?);
                return Some(Flr {
                    // CAST: less than 256.
                    at: at as u64 + 8,
                    bytes: (control | EXPRESS_RESET).to_le_bytes().to_vec(),
                });
            }
            ADVANCED if *capability.get(3)? & ADVANCED_CAN_RESET != 0 => {
                return Some(Flr {
                    // CAST: less than 256.
                    at: at as u64 + 4,
                    bytes: vec![ADVANCED_RESET],
                });
            }
            _ => at = usize::from(capability[1] & 0xfc),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(capabilities: &[(usize, &[u8])]) -> [u8; SIZE] {
        let mut config = [0; SIZE];
        config[STATUS] = CAPABILITIES;
        let mut pointer = FIRST;
        for (at, bytes) in capabilities {
            // CAST: offsets of the space.
            config[pointer] = *at as u8;
            config[*at..at + bytes.len()].copy_from_slice(bytes);
            pointer = at + 1;
        }
        config
    }

    #[test]
    fn finds_the_reset_of_pci_express() {
        let config = config(&[
            (0x50, &[5, 0, 0, 0]),
            (0x70, &[0x10, 0, 2, 0, 0, 0, 0, 0x10, 0x30, 0x29]),
        ]);
        let expected = Flr {
            at: 0x78,
            bytes: vec![0x30, 0xa9],
        };
        assert_eq!(flr(&config), Some(expected));
    }

    #[test]
    fn finds_the_reset_of_conventional_pci() {
        let config = config(&[(0x44, &[0x13, 0, 6, 3, 0, 0])]);
        let expected = Flr {
            at: 0x48,
            bytes: vec![1],
        };
        assert_eq!(flr(&config), Some(expected));
    }

    #[test]
    fn finds_none_where_there_is_none() {
        let express = [0x10, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(flr(&config(&[(0x70, &express)])), None);
        assert_eq!(flr(&config(&[])), None);
        assert_eq!(flr(&[0; SIZE]), None);
        assert_eq!(flr(&[0xff; SIZE]), None);
        let mut ring = config(&[(0x70, &express)]);
        ring[0x71] = 0x70;
        assert_eq!(flr(&ring), None);
    }
}
