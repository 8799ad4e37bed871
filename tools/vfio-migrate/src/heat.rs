// SPDX-License-Identifier: GPL-2.0-only

//! Pictures of the guest memory that a device writes, over time.
//!
//! [`snapshot`] and [`write`](mod@write) read what the driver shows, [`history`] keeps it,
//! [`axis`] chooses which part of the address space is shown, and [`map`] counts pages in the cells
//! that address and time make. [`text`] shows such a map in a terminal, [`picture`] draws it on a
//! [`canvas`], which becomes a file of the format [`svg`] or [`png`] in the place that [`target`]
//! names. [`report`] has the numbers, and [`view`] shows all that while it changes.

pub mod axis;
pub mod canvas;
pub mod colour;
pub mod history;
pub mod map;
pub mod picture;
pub mod png;
pub mod report;
pub mod snapshot;
pub mod svg;
pub mod target;
pub mod text;
pub mod view;
pub mod write;
