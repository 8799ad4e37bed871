// SPDX-License-Identifier: GPL-2.0-only

//! Shadows and offsets of registers.

use crate::{
    interrupts::{
        of_queues,
        Enabled, //
    },
    statistics::{
        Offsets,
        COUNT, //
    }, //
};

#[test]
fn enabled_interrupts_are_the_sum_of_the_writes() {
    let mut enabled = Enabled::default();
    enabled.set(0x1);
    enabled.set(0x4);
    assert_eq!(enabled.bits(), 0x5);
    enabled.clear(0xffff_fffe);
    assert_eq!(enabled.bits(), 0x1);
    enabled.set(0xffff_ffff);
    assert_eq!(enabled.bits(), 0x7);
    assert_eq!(Enabled::from_bits(0xff), enabled);
}

#[test]
fn only_valid_entries_of_ivar_have_a_vector() {
    assert_eq!(of_queues(0), 0);
    // Receive queue 0 has vector 1, transmit queue 0 vector 0: what igbvf writes.
    assert_eq!(of_queues(0x0000_8081), 0x3);
    assert_eq!(of_queues(0x0000_0081), 0x2);
    // A vector that the function does not have.
    assert_eq!(of_queues(0x8700_8002), 0x1);
}

#[test]
fn statistics_go_on_counting() {
    let raw = [10, 0, u32::MAX, 5, 5, 5, 5, 5, 5];
    let shown = [100, 7, 3, 5, 0, 5, 5, 5, 5];
    let offsets = Offsets::new(&raw, &shown);
    for index in 0..COUNT {
        assert_eq!(offsets.shown(index, raw[index]), shown[index]);
        assert_eq!(
            offsets.shown(index, raw[index].wrapping_add(9)),
            shown[index] + 9
        );
    }
    // There are no others.
    assert_eq!(offsets.shown(COUNT, 1), 1);
    assert_eq!(Offsets::default().shown(0, 1), 1);
}
