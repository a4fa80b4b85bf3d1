//! The printed table: figure, goal, verdict; and medians.

use std::time::Duration;

/// Prints rows as they are measured.
#[derive(Default)]
pub struct Table {
    missed: Vec<String>,
}

impl Table {
    pub fn section(&self, title: &str) {
        println!("\n{title}");
    }

    /// A figure without a goal.
    pub fn note(&self, what: &str, figure: impl std::fmt::Display) {
        println!("  {what:<58} {figure:>14}");
    }

    /// A figure that must not exceed `goal`.
    pub fn goal(&mut self, what: &str, figure: f64, goal: f64, unit: &str) {
        let verdict = if figure <= goal { "ok" } else { "MISSED" };
        println!("  {what:<58} {:>14}   goal {goal} {unit}: {verdict}", format!("{figure:.2} {unit}"));
        if figure > goal {
            self.missed.push(format!("{what}: {figure:.2} {unit}, goal {goal}"));
        }
    }

    pub fn end(self) {
        println!();
        match self.missed.is_empty() {
            true => println!("all goals are met"),
            false => println!("missed:\n  {}", self.missed.join("\n  ")),
        }
    }
}

/// The value below which that part of all lies.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
