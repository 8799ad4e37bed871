// SPDX-License-Identifier: GPL-2.0-only

//! The sections of an edu's state, version 1, as `rust/edu/image.rs` defines them.

use std::fmt;

use serde::Serialize;

/// Section type of the registers.
const REGISTERS: u16 = 1;
/// Section type of the internal buffer.
const BUFFER: u16 = 2;

/// What a section holds.
pub fn name(kind: u16) -> Option<&'static str> {
    match kind {
        REGISTERS => Some("registers"),
        BUFFER => Some("internal buffer"),
        _ => None,
    }
}

/// The payload of a section of registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Registers {
    status: u32,
    liveness: u32,
    operand: u32,
    factorial: u32,
    irq_status: u32,
    dma_src: u64,
    dma_dst: u64,
    dma_count: u64,
    dma_cmd: u64,
}

impl Registers {
    /// Reads a payload; `None` if it is not one of registers.
    pub fn decode(kind: u16, payload: &[u8]) -> Option<Self> {
        if kind != REGISTERS || payload.len() != 56 {
            return None;
        }
        let word = |at: usize| {
            payload
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .map(|b| u32::from_le_bytes(*b))
        };
        let long = |at: usize| {
            payload
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .map(|b| u64::from_le_bytes(*b))
        };
        Some(Self {
            status: word(0)?,
            liveness: word(4)?,
            operand: word(8)?,
            factorial: word(12)?,
            irq_status: word(16)?,
            dma_src: long(24)?,
            dma_dst: long(32)?,
            dma_count: long(40)?,
            dma_cmd: long(48)?,
        })
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            liveness,
            operand,
            factorial,
            irq_status,
            ..
        } = self;
        let irq = if status & 0x80 != 0 {
            "interrupts after a factorial"
        } else {
            "no interrupts"
        };
        writeln!(f, "    status      {status:#x}: {irq}")?;
        writeln!(f, "    liveness    {liveness:#010x}")?;
        writeln!(f, "    factorial   {operand}! = {factorial:#x} modulo 2^32")?;
        writeln!(f, "    irq-status  {irq_status:#010x}")?;
        writeln!(f, "    dma-src     {:#018x}", self.dma_src)?;
        writeln!(f, "    dma-dst     {:#018x}", self.dma_dst)?;
        writeln!(f, "    dma-count   {}", self.dma_count)?;
        let to = if self.dma_cmd & 2 != 0 {
            "device to memory"
        } else {
            "memory to device"
        };
        writeln!(f, "    dma-cmd     {:#x}: {to}", self.dma_cmd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_registers() {
        let mut payload = Vec::new();
        for word in [0x80u32, 0xffff_ffff, 5, 120, 1, 0] {
            payload.extend(word.to_le_bytes());
        }
        for long in [0x40000u64, 0x100_0000, 4096, 2] {
            payload.extend(long.to_le_bytes());
        }
        let registers = Registers::decode(REGISTERS, &payload).unwrap();
        assert_eq!((registers.operand, registers.factorial), (5, 120));
        assert_eq!((registers.dma_dst, registers.dma_cmd), (0x100_0000, 2));
        assert!(registers.to_string().contains("5! = 0x78"));
        assert!(Registers::decode(REGISTERS, &payload[1..]).is_none());
        assert!(Registers::decode(BUFFER, &payload).is_none());
    }
}
