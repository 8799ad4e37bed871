// SPDX-License-Identifier: GPL-2.0-only

//! The commands, one a file, and what several of them share: [`delivery`], [`progress`],
//! [`setup`] and [`size`].

pub mod check;
pub mod dirty;
pub mod dump;
pub mod info;
pub mod list;
pub mod recv;
pub mod restore;
pub mod run;
pub mod save;
pub mod send;
pub mod watch;

mod delivery;
mod progress;
mod setup;
mod size;
