//! Do intervals hold the truth as often as they say? Data are drawn many times where it is known.
//!
//! ```sh
//! make coverage   # 2000 draws of each; prints the table of docs/validation.md
//! ```
//!
//! The tests of every change take 100 draws. A rate that is 95 % is then found within ± 9 points
//! (four standard errors), which is what they allow beyond the limits below; with 2000 it is one
//! standard error, half a point.

#![allow(clippy::unwrap_used)]

mod curves;
mod models;
mod random;
mod samples;

use rayon::prelude::*;

/// One claim in one setting.
struct Claim {
    /// What is claimed.
    what: &'static str,
    /// Of which data.
    setting: &'static str,
    /// The least and the largest share of draws in which it may be so, in percent.
    limits: [f64; 2],
    /// Draws data from a seed; whether the claim was so, or how much of it.
    draw: fn(u64) -> f64,
}

/// Intervals that promise 95 %.
const EXACT: [f64; 2] = [93.0, 98.0];

/// Intervals that promise at least 95 %: of a maximum, from a band that holds everywhere.
const AT_LEAST: [f64; 2] = [93.0, 100.0];

/// False alarms: a barrier or a correlation where there is none, at a level of 5 %.
const ALARM: [f64; 2] = [0.0, 5.0];

/// False alarms of tests that are approximate.
const ABOUT: [f64; 2] = [2.0, 7.0];

/// The share of draws in which a claim was so, in percent.
fn rate(claim: &Claim, draws: u64) -> f64 {
    let held: f64 = (0..draws)
        .into_par_iter()
        .map(|seed| (claim.draw)(seed))
        .sum();
    100.0 * held / draws as f64
}

fn claims() -> impl Iterator<Item = &'static Claim> {
    samples::CLAIMS
        .iter()
        .chain(curves::CLAIMS)
        .chain(models::CLAIMS)
}

/// Finds all rates; those beyond their limits by more than `slack` standard errors are wrong.
fn check(draws: u64, slack: f64) {
    let mut wrong = Vec::new();
    println!("| what | of | promised, % | found, % |\n|---|---|---|---|");
    for claim in claims() {
        let [low, high] = claim.limits;
        let found = rate(claim, draws);
        let promised = match claim.limits {
            ALARM => "at most 5",
            ABOUT => "about 5",
            AT_LEAST => "at least 95",
            _ => "95",
        };
        println!(
            "| {} | {} | {promised} | {found:.1} |",
            claim.what, claim.setting
        );
        let slack = slack * (95.0 * 5.0 / draws as f64).sqrt();
        if found < low - slack || found > high + slack {
            wrong.push(format!("{} of {}: {found:.1} %", claim.what, claim.setting));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn intervals_hold_roughly_in_few_draws() {
    check(100, 4.0);
}

#[test]
#[ignore = "takes minutes: make coverage"]
fn intervals_hold_in_many_draws() {
    check(2000, 1.0);
}
