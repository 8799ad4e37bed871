// SPDX-License-Identifier: GPL-2.0-only

//! Devices that lack what is optional: states, and dirty tracking; and devices whose hardware is
//! reset before they are.

mod arcs;
#[path = "../common/mod.rs"]
mod common;
mod dirty;
mod part;
mod regions;
mod resets;
