// SPDX-License-Identifier: GPL-2.0-only

//! Random choices that a seed repeats.

use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator whose choices follow from a seed alone, on every machine.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The generator of one thread in one round.
    pub fn new(seed: u64, round: u64, thread: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((round << 8) | thread);
        Self(rng)
    }

    /// A generator of its own for one step: what a step draws depends on what the kernel answers,
    /// and must not change what the next steps are.
    pub fn step(&mut self) -> Self {
        Self(ChaCha8Rng::seed_from_u64(self.0.next_u64()))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        // CAST: The remainder is less than `end`.
        (self.number() % end as u64) as usize
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A number of the kind that finds mistakes.
    pub fn value(&mut self) -> u64 {
        let near = |at: u64, by: u64| at.wrapping_add(by).wrapping_sub(2);
        match self.below(8) {
            0 => self.number() % 5,
            1 => self.number() % 256,
            2 => {
                let at = 1 << self.below(64);
                near(at, self.number() % 5)
            }
            3 => near(u64::MAX - 1, self.number() % 5),
            4 => (self.number() % 4096) * 4096,
            5 => u64::from(u32::MAX) - self.number() % 4,
            6 => self.number() & 0xffff_ffff,
            _ => self.number(),
        }
    }

    /// A number of bytes, most often a small one.
    pub fn length(&mut self, most: usize) -> usize {
        let length = match self.below(8) {
            0..=3 => *self.pick(&[1, 2, 4, 8, 8, 4]),
            4 => self.below(17),
            5 => self.below(257),
            6 => *self.pick(&[4095, 4096, 4097, 8192]),
            _ => self.below(most + 1),
        };
        length.min(most)
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Now and then puts an unexpected number into one of a structure's words.
    pub fn spoil(&mut self, structure: &mut [u8]) {
        if structure.len() < 4 || !self.one_in(5) {
            return;
        }
        let at = self.below(structure.len() / 4) * 4;
        // CAST: The low half.
        let word = self.value() as u32;
        structure[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    fn draw(mut dice: Dice) -> Vec<u64> {
        (0..8).map(|_| dice.number()).collect()
    }

    #[test]
    fn a_seed_repeats_the_choices_of_each_thread_and_round() {
        assert_eq!(draw(Dice::new(7, 2, 1)), draw(Dice::new(7, 2, 1)));
        for (seed, round, thread) in [(8, 2, 1), (7, 3, 1), (7, 2, 0)] {
            assert_ne!(
                draw(Dice::new(7, 2, 1)),
                draw(Dice::new(seed, round, thread))
            );
        }
    }

    #[test]
    fn what_a_step_draws_does_not_change_the_next() {
        let (mut one, mut other) = (Dice::new(7, 0, 0), Dice::new(7, 0, 0));
        let mut step = one.step();
        assert_eq!((0..100).map(|_| step.number()).count(), 100);
        other.step();
        assert_eq!(draw(one.step()), draw(other.step()));
    }

    #[test]
    fn lengths_and_choices_stay_in_bounds() {
        let mut dice = Dice::new(1, 0, 0);
        for most in [0, 1, 9, 4096, 65536] {
            assert!((0..1000).all(|_| dice.length(most) <= most));
        }
        assert!((0..1000).all(|_| dice.below(3) < 3));
    }
}
