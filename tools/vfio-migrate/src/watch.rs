// SPDX-License-Identifier: GPL-2.0-only

//! Looks at a device that another process uses, through what the driver shows to root.
//!
//! [`source`] and [`tracefs`] find what the driver writes; [`status`], [`snapshot`] and [`event`]
//! read it. A [`sample`] is made of it when [`ticker`] says so, and [`view`] shows the samples.

pub mod clock;
pub mod event;
pub mod interval;
pub mod sample;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod ticker;
pub mod tracefs;
pub mod view;
