// SPDX-License-Identifier: GPL-2.0-only

//! The pure files of the driver as a crate of their own, which `cargo test` compiles on the host.
//!
//! The kernel module does not have this file: its root is `igbvf_vfio_pci.rs`.

#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the kernel module uses the rest")]

mod history;
mod image;
mod interrupts;
mod mailbox;
mod replay;
mod ring;
mod state;
mod statistics;

#[cfg(test)]
#[path = "../../tools/igbvf/src/tests.rs"]
mod tests;
