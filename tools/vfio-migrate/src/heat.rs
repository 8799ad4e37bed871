// SPDX-License-Identifier: GPL-2.0-only

//! Pictures of the guest memory that a device writes, over time.
//!
//! [`write`](mod@write) reads which pages the device writes, [`history`] keeps them, [`axis`]
//! chooses which part of the address space is shown, and [`map`] counts pages in cells of address
//! and time. [`text`] shows such a map in a terminal, [`picture`] draws it on a [`canvas`], which
//! becomes a file of the format [`svg`] or [`png`] in the place that [`target`] names. [`report`]
//! has the numbers, and [`view`] shows all of it while it changes.

pub mod axis;
pub mod canvas;
pub mod colour;
pub mod history;
pub mod map;
pub mod picture;
pub mod png;
pub mod report;
pub mod svg;
pub mod target;
pub mod text;
pub mod view;
pub mod write;
