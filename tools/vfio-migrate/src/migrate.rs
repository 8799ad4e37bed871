// SPDX-License-Identifier: GPL-2.0-only

//! Moves a device.
//!
//! A [`protocol::Migration`] is a device as one migration protocol shows it; [`region_2018`]
//! implements it over a [`region::Region`]. [`live`] is the source's side of every migration, and a
//! [`target::Target`] the other one: a device of this machine, a file, or the peer that [`tcp`]
//! reaches with the frames of [`wire`]. [`session`] holds an open device, [`memory`] what it
//! reaches by DMA.

pub mod digest;
pub mod dirty;
pub mod live;
pub mod mapped_region;
pub mod memory;
pub mod protocol;
pub mod region;
pub mod region_2018;
pub mod session;
pub mod target;
pub mod tcp;
pub mod wire;
