// SPDX-License-Identifier: GPL-2.0-only

//! See [`fuzz::dirty`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dirty::run(data));
