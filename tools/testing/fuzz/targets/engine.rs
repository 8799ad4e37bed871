// SPDX-License-Identifier: GPL-2.0-only

//! See [`fuzz::engine`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::engine::run(data));
