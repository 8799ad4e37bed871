// SPDX-License-Identifier: GPL-2.0-only

//! Registers of the edu device.
//!
//! Specification: `docs/specs/edu.rst` of QEMU. All of them lie in BAR 0. Registers below
//! [`DMA_SOURCE`] are 32 bits wide, the others 32 or 64; accesses of any other width, or to any
//! other offset, do nothing.

/// The BAR that holds the registers.
pub(crate) const BAR: u8 = 0;

/// Identification, read-only: [`IDENTIFICATION_VALUE`].
pub(crate) const IDENTIFICATION: u64 = 0x00;

/// What [`IDENTIFICATION`] reads: version 1.0 and the device's magic.
pub(crate) const IDENTIFICATION_VALUE: u32 = 0x0100_00ed;

/// Liveness check: reads the complement of what was written, 0 after a reset.
pub(crate) const LIVENESS: u64 = 0x04;

/// Factorial: a write of n starts the computation of n! modulo 2^32 (ignored while one runs),
/// a read returns the last result, 0 after a reset.
pub(crate) const FACTORIAL: u64 = 0x08;

/// The smallest operand whose factorial is a multiple of 2^32, so 0.
pub(crate) const FACTORIAL_ZERO: u32 = 34;

/// Status.
pub(crate) const STATUS: u64 = 0x20;

/// [`STATUS`], read-only: a factorial is being computed.
pub(crate) const STATUS_COMPUTING: u32 = 1 << 0;

/// [`STATUS`]: raise [`INTERRUPT_FACTORIAL`] after a factorial.
pub(crate) const STATUS_INTERRUPT: u32 = 1 << 7;

/// Interrupts raised and not acknowledged, read-only.
pub(crate) const INTERRUPT_STATUS: u64 = 0x24;

/// [`INTERRUPT_STATUS`]: a factorial was computed.
pub(crate) const INTERRUPT_FACTORIAL: u32 = 1 << 0;

/// [`INTERRUPT_STATUS`]: a transfer was done.
pub(crate) const INTERRUPT_TRANSFER: u32 = 1 << 8;

/// Raises the interrupts written: they are set in [`INTERRUPT_STATUS`].
pub(crate) const INTERRUPT_RAISE: u64 = 0x60;

/// Acknowledges the interrupts written: they are cleared in [`INTERRUPT_STATUS`].
pub(crate) const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;

/// DMA source address; it and the next two are not changed while a transfer runs.
pub(crate) const DMA_SOURCE: u64 = 0x80;

/// DMA destination address.
pub(crate) const DMA_DESTINATION: u64 = 0x88;

/// DMA transfer size in bytes.
pub(crate) const DMA_COUNT: u64 = 0x90;

/// DMA command; a write without [`COMMAND_RUN`], or while a transfer runs, is ignored.
pub(crate) const DMA_COMMAND: u64 = 0x98;

/// [`DMA_COMMAND`]: start a transfer; reads as set until it is done, 100 ms later.
pub(crate) const COMMAND_RUN: u64 = 1 << 0;

/// [`DMA_COMMAND`]: from the internal buffer to memory; from memory to the buffer without it.
pub(crate) const COMMAND_TO_MEMORY: u64 = 1 << 1;

/// [`DMA_COMMAND`]: raise [`INTERRUPT_TRANSFER`] when the transfer is done.
pub(crate) const COMMAND_INTERRUPT: u64 = 1 << 2;

/// Address of the internal buffer, as DMA source or destination.
pub(crate) const BUFFER: u64 = 0x40000;

/// Size of the internal buffer in bytes.
pub(crate) const BUFFER_SIZE: usize = 4096;
