// SPDX-License-Identifier: GPL-2.0-only

//! See [`fuzz::image`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image::run(data));
