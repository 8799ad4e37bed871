// SPDX-License-Identifier: GPL-2.0-only

//! Fuzz targets for the pure core: each is a function of bytes that panics if a rule is broken.
//!
//! They run over the same files, stand-ins and device in memory as the host tests. `scripts/fuzz`
//! drives them with libFuzzer; `tests/corpus.rs` replays the corpus without it.

#![forbid(unsafe_code)]

pub mod dirty;
pub mod engine;
pub mod header;
pub mod image;

#[path = "../../../migration/tests/common/mod.rs"]
mod common;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 4] = [
    ("dirty", dirty::run),
    ("engine", engine::run),
    ("header", header::run),
    ("image", image::run),
];
