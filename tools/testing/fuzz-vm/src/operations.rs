// SPDX-License-Identifier: GPL-2.0-only

//! What a thread does in one step: random calls, and sequences that get somewhere.

mod container;
mod guest;
mod ioctls;
mod lifetime;
mod mappings;
mod regions;
mod sequences;
mod streams;

use crate::client::Client;
use crate::dice::Dice;

/// A step.
type Operation = fn(&mut Client<'_>);

/// How often a step is taken in comparison with others, and what it does.
const OPERATIONS: &[(usize, Operation)] = &[
    (12, guest::read_register),
    (12, guest::write_register),
    (4, guest::compute),
    (4, guest::move_data),
    (3, guest::refused_transfer),
    (4, guest::read_config),
    (4, guest::write_config),
    (4, regions::read_any),
    (4, regions::write_any),
    (10, regions::read_region_2018),
    (8, regions::write_region_2018),
    (4, regions::read_data),
    (4, regions::write_data),
    (6, regions::read_region_v1),
    (5, regions::write_region_v1),
    (4, ioctls::device_info),
    (4, ioctls::set_irqs),
    (2, ioctls::hot_reset),
    (6, ioctls::feature),
    (4, ioctls::any),
    (8, streams::set_state),
    (8, streams::read),
    (8, streams::write),
    (5, streams::others),
    (3, mappings::map),
    (6, mappings::use_mapping),
    (2, mappings::change_memory),
    (4, container::map_dma),
    (3, container::unmap_dma),
    (3, container::dirty),
    (2, container::others),
    (2, container::group),
    (1, lifetime::reset),
    (1, lifetime::reopen),
    (1, lifetime::open_twice),
    (2, lifetime::interrupt),
    (1, lifetime::host_looks),
    (1, lifetime::file_calls),
    (2, sequences::save_region_2018),
    (2, sequences::load_region_2018),
    (2, sequences::save_region_v1),
    (2, sequences::load_region_v1),
    (2, sequences::save_v2),
    (2, sequences::load_v2),
];

/// The weights of one round: an operation that is common in one round is rare or left out in
/// another, so that none is always in the way of others.
pub struct Mood(Vec<usize>);

impl Mood {
    /// Draws the weights of a round.
    pub fn new(dice: &mut Dice) -> Self {
        let weights = OPERATIONS
            .iter()
            .map(|(weight, _)| weight * [0, 1, 1, 4][dice.below(4)]);
        let mut weights: Vec<_> = weights.collect();
        // At least one operation stays possible.
        weights[0] = weights[0].max(1);
        Self(weights)
    }

    /// Takes a step.
    pub fn act(&self, client: &mut Client<'_>) {
        let total = self.0.iter().sum();
        let mut at = client.dice.below(total);
        for (weight, (_, operation)) in self.0.iter().zip(OPERATIONS) {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return operation(client),
            }
        }
    }
}
