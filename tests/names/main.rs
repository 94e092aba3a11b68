//! How names of state dicts are matched to a graph's: prefixes, tensors that only one side has, tied
//! copies, tables of the network, weights in `Constant` nodes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod constants;
mod extra;
mod many;
mod merged;
mod network;
mod prefixes;
mod pytorch;
mod tables;
mod types;

/// Asserts that a text has all these parts.
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}
