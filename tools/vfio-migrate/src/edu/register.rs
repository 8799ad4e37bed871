// SPDX-License-Identifier: GPL-2.0-only

//! Names, widths and values of the edu's registers.

use std::fmt;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Edu;
use crate::error::Result;

/// Width of a register access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Width {
    /// 4 bytes.
    B4,
    /// 8 bytes, from offset 0x80 on.
    B8,
}

impl Width {
    /// The width in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::B4 => 4,
            Self::B8 => 8,
        }
    }
}

/// A register and the width to access it with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Register {
    /// Offset in BAR 0.
    pub offset: u64,
    /// Width of the access.
    pub width: Width,
}

/// The registers by name. The DMA registers have 64 bits.
const NAMES: [(&str, Register); 11] = [
    ("id", Register::ID),
    ("liveness", Register::LIVENESS),
    ("factorial", Register::FACTORIAL),
    ("status", Register::STATUS),
    ("irq-status", Register::IRQ_STATUS),
    ("irq-raise", Register::IRQ_RAISE),
    ("irq-ack", Register::IRQ_ACK),
    ("dma-src", Register::DMA_SRC),
    ("dma-dst", Register::DMA_DST),
    ("dma-count", Register::DMA_COUNT),
    ("dma-cmd", Register::DMA_CMD),
];

impl Register {
    /// Identification, read-only.
    pub const ID: Self = Self::at(0x00, Width::B4);
    /// Reads the complement of what was written.
    pub const LIVENESS: Self = Self::at(0x04, Width::B4);
    /// Written n, reads n! modulo 2^32.
    pub const FACTORIAL: Self = Self::at(0x08, Width::B4);
    /// Bit 0 computing, bit 7 interrupt when done.
    pub const STATUS: Self = Self::at(0x20, Width::B4);
    /// Interrupts raised, read-only.
    pub const IRQ_STATUS: Self = Self::at(0x24, Width::B4);
    /// Raises interrupts, write-only.
    pub const IRQ_RAISE: Self = Self::at(0x60, Width::B4);
    /// Acknowledges interrupts, write-only.
    pub const IRQ_ACK: Self = Self::at(0x64, Width::B4);
    /// DMA source.
    pub const DMA_SRC: Self = Self::at(0x80, Width::B8);
    /// DMA destination.
    pub const DMA_DST: Self = Self::at(0x88, Width::B8);
    /// DMA count.
    pub const DMA_COUNT: Self = Self::at(0x90, Width::B8);
    /// DMA command.
    pub const DMA_CMD: Self = Self::at(0x98, Width::B8);

    const fn at(offset: u64, width: Width) -> Self {
        Self { offset, width }
    }

    /// The name, for a register that has one.
    fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(_, named)| named.offset == self.offset)
            .map(|(name, _)| *name)
    }

    /// A value in as many digits as the register has.
    pub fn show(self, value: u64) -> String {
        format!("{value:#0width$x}", width = 2 + 2 * self.width.bytes())
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.offset),
        }
    }
}

impl FromStr for Register {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, width) = match text.split_once(':') {
            Some((place, "4")) => (place, Some(Width::B4)),
            Some((place, "8")) => (place, Some(Width::B8)),
            Some((_, width)) => return Err(format!("'{width}' is not a width: 4 or 8")),
            None => (text, None),
        };
        let mut register = match NAMES.iter().find(|(name, _)| *name == place) {
            Some((_, register)) => *register,
            None => Self {
                offset: hex(place).ok_or_else(|| {
                    let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                    format!(
                        "'{place}' is neither a hex offset nor one of {}",
                        names.join(", ")
                    )
                })?,
                width: Width::B4,
            },
        };
        register.width = width.unwrap_or(register.width);
        if register.offset % register.width.bytes() as u64 != 0 {
            return Err(format!(
                "{:#x} is not a multiple of the access's width",
                register.offset
            ));
        }
        if register.width == Width::B8 && register.offset < 0x80 {
            return Err(format!("{:#x} takes 4-byte accesses only", register.offset));
        }
        Ok(register)
    }
}

/// A register and the value to write to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Assignment {
    /// Where to.
    pub register: Register,
    /// What.
    pub value: u64,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (register, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' is not of the form REG=VALUE"))?;
        let register: Register = register.parse()?;
        let number = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        };
        let value = number.ok_or_else(|| format!("'{value}' is not a number"))?;
        if register.width == Width::B4 && value > u32::MAX.into() {
            return Err(format!("{value:#x} does not fit into 4 bytes"));
        }
        Ok(Self { register, value })
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// The values of all registers that can be read, at one time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    values: Vec<u64>,
}

impl Snapshot {
    /// The registers of a snapshot, in its order.
    const REGISTERS: [Register; 9] = [
        Register::ID,
        Register::LIVENESS,
        Register::FACTORIAL,
        Register::STATUS,
        Register::IRQ_STATUS,
        Register::DMA_SRC,
        Register::DMA_DST,
        Register::DMA_COUNT,
        Register::DMA_CMD,
    ];

    /// Reads them all.
    pub fn of(edu: &Edu<'_>) -> Result<Self> {
        let values = Self::REGISTERS.iter().map(|register| edu.read(*register));
        Ok(Self {
            values: values.collect::<Result<_>>()?,
        })
    }

    /// Registers and values.
    pub fn iter(&self) -> impl Iterator<Item = (Register, u64)> + '_ {
        Self::REGISTERS.into_iter().zip(self.values.iter().copied())
    }

    /// Clears bits of a register that are expected to change.
    pub fn clear(&mut self, register: Register, bits: u64) {
        for (known, value) in Self::REGISTERS.iter().zip(&mut self.values) {
            if *known == register {
                *value &= !bits;
            }
        }
    }

    /// What differs, in words.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        self.iter()
            .zip(other.iter())
            .filter(|((_, before), (_, after))| before != after)
            .map(|((register, before), (_, after))| {
                format!(
                    "{register} was {} and is {}",
                    register.show(before),
                    register.show(after)
                )
            })
            .collect()
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (register, value) in self.iter() {
            map.serialize_entry(&register.to_string(), &value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(text: &str) -> Result<Register, String> {
        text.parse()
    }

    #[test]
    fn names_and_offsets() {
        assert_eq!(register("factorial"), Ok(Register::FACTORIAL));
        assert_eq!(register("0x8"), Ok(Register::FACTORIAL));
        assert_eq!(register("20"), Ok(Register::STATUS));
        assert_eq!(register("dma-src"), Ok(Register::DMA_SRC));
        assert_eq!(register("dma-src:4"), Ok(Register::at(0x80, Width::B4)));
        assert_eq!(register("80:8"), Ok(Register::DMA_SRC));
        for wrong in ["", "factorail", "8:8", "3", "84:8", "80:2", "-4"] {
            assert!(register(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn assignments() {
        let parse = |text: &str| text.parse::<Assignment>();
        assert_eq!(
            parse("liveness=0x12345678"),
            Ok(Assignment {
                register: Register::LIVENESS,
                value: 0x1234_5678
            })
        );
        assert_eq!(
            parse("0x08=5"),
            Ok(Assignment {
                register: Register::FACTORIAL,
                value: 5
            })
        );
        for wrong in [
            "liveness",
            "liveness=",
            "liveness=0x100000000",
            "liveness=x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn differences_name_register_and_values() {
        let a = Snapshot {
            values: vec![1, 2, 3, 4, 5, 6, 7, 8, 9],
        };
        let mut b = a.clone();
        assert!(a.differences(&b).is_empty());
        b.values[2] = 0x78;
        assert_eq!(
            a.differences(&b),
            ["factorial was 0x00000003 and is 0x00000078"]
        );
    }
}
