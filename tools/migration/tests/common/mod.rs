// SPDX-License-Identifier: GPL-2.0-only

//! A device in memory, and a client's data section.

#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]

pub mod device;
pub mod region;

pub use device::*;
pub use region::*;
