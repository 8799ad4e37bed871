// SPDX-License-Identifier: GPL-2.0-only

//! See [`fuzz::header`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::header::run(data));
