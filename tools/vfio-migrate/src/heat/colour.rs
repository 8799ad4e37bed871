// SPDX-License-Identifier: GPL-2.0-only

//! Colours that show how much of something there is.

/// A colour: red, green, blue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// From little to much: lightness falls all the way, so it can be read without the hues.
const RAMP: [Rgb; 6] = [
    Rgb(254, 217, 118),
    Rgb(253, 164, 66),
    Rgb(244, 96, 54),
    Rgb(205, 36, 62),
    Rgb(134, 16, 88),
    Rgb(54, 8, 74),
];

/// From little to much in a terminal of 256 colours; all can be seen on dark and on light ground.
const TERMINAL: [u8; 6] = [222, 215, 209, 203, 198, 163];

/// Where a number is between 1 and `peak`: 0 to 1, by its logarithm.
pub fn level(number: u64, peak: u64) -> f64 {
    if number <= 1 || peak <= 1 {
        return 0.0;
    }
    // CAST: not more exact than a colour.
    ((number as f64).ln() / (peak as f64).ln()).clamp(0.0, 1.0)
}

/// The colour of a level.
pub fn ramp(level: f64) -> Rgb {
    let at = level.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    // CAST: between 0 and the number of colours.
    let below = (at.floor() as usize).min(RAMP.len() - 2);
    let mix = at - below as f64;
    let (from, to) = (RAMP[below], RAMP[below + 1]);
    let part =
        |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * mix).round();
    // CAST: between two colours.
    Rgb(
        part(from.0, to.0) as u8,
        part(from.1, to.1) as u8,
        part(from.2, to.2) as u8,
    )
}

/// The number of a level's colour in a terminal.
pub fn terminal(level: f64) -> u8 {
    TERMINAL[step(level, TERMINAL.len())]
}

/// Which of `steps` a level is, counted from 0.
pub fn step(level: f64, steps: usize) -> usize {
    // CAST: a level is at most 1.
    ((level * steps as f64) as usize).min(steps - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_logarithmic() {
        assert_eq!(level(1, 1), 0.0);
        assert_eq!(level(1, 100), 0.0);
        assert_eq!(level(10, 100), 0.5);
        assert_eq!(level(100, 100), 1.0);
        assert_eq!(level(u64::MAX, 10), 1.0);
    }

    #[test]
    fn more_is_darker() {
        assert_eq!(ramp(0.0), RAMP[0]);
        assert_eq!(ramp(1.0), RAMP[5]);
        let light = |n: i32| {
            let Rgb(r, g, b) = ramp(f64::from(n) / 100.0);
            u32::from(r) * 3 + u32::from(g) * 6 + u32::from(b)
        };
        assert!((0..100).all(|n| light(n) >= light(n + 1)));
        assert_eq!((step(0.0, 4), step(0.5, 4), step(1.0, 4)), (0, 2, 3));
        assert_eq!(terminal(1.0), TERMINAL[5]);
    }
}
