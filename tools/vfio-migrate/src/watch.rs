// SPDX-License-Identifier: GPL-2.0-only

//! Looks at a device that another process uses, through what the driver shows to root.
//!
//! [`status`] and [`event`] read what the driver writes, [`source`] and [`tracefs`] say where it is,
//! [`sample`] is what becomes of it, and [`view`] shows that; [`ticker`] says when.

pub mod clock;
pub mod event;
pub mod interval;
pub mod sample;
pub mod source;
pub mod status;
pub mod ticker;
pub mod tracefs;
pub mod view;
