// SPDX-License-Identifier: GPL-2.0-only

//! Tables of figures, and which figures keep their bounds.

/// A bound on a ratio.
pub enum Must {
    AtLeast(f64),
    AtMost(f64),
}

/// Prints the heading of a table.
pub fn heading(title: &str, columns: &[&str]) {
    print!("\n{title:34}");
    columns.iter().for_each(|column| print!(" {column:>11}"));
    println!();
}

/// Prints a row: its name, the figures, and a ratio with its bound.
pub fn row(name: &str, figures: &[Option<f64>], ratios: &[(&str, f64, Option<Must>)]) {
    print!("{name:34}");
    for figure in figures {
        match figure {
            Some(figure) => print!(" {:>11}", number(*figure)),
            None => print!(" {:>11}", "-"),
        }
    }
    for (what, ratio, must) in ratios {
        print!("   {what} {}", number(*ratio));
        let (sign, bound, holds) = match must {
            Some(Must::AtLeast(bound)) => (">=", bound, ratio >= bound),
            Some(Must::AtMost(bound)) => ("<=", bound, ratio <= bound),
            None => continue,
        };
        let verdict = if holds { "ok" } else { "missed" };
        print!(" (must be {sign} {}: {verdict})", number(*bound));
    }
    println!();
}

/// Formats a number with about three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..0.995 => format!("{value:.3}"),
        ..99.5 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}
