//! What was found in one checkpoint.

use std::collections::BTreeMap;

use super::extra::PassedOver;
use super::matches::{Matches, Verified};
use super::prefix::Renaming;
use super::tables::Evidence;

/// The matches in one checkpoint.
pub(super) struct Found {
    /// The checkpoint's tensors by place.
    pub matches: Matches,
    /// Its tensors that are passed over.
    pub passed_over: Vec<PassedOver>,
    /// How the matches were verified.
    pub verified: Verified,
    /// How its names became the graph's.
    pub renaming: Renaming,
    /// Initializers that are tables of the network, with what shows it.
    pub tables: BTreeMap<String, Evidence>,
}
