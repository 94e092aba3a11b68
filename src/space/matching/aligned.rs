//! Checkpoints aligned with the origin: the pool, and how it was put together.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::left_out::LeftOut;
use super::matches::{MatchRule, Matches, Verified};
use super::prefix::Renaming;
use crate::graph::network::Place;
use crate::graph::skeleton::WeightSlot;
use crate::space::pool::Pool;

/// A pool and information about how it was put together.
#[derive(Debug)]
pub struct Aligned {
    /// Origin and checkpoints, over the same parameters.
    pub pool: Pool,
    /// Where the graph reads each parameter: `places[parameter]`, never empty.
    pub places: Vec<Vec<Place>>,
    /// How each parameter was found in each checkpoint: `methods[parameter][checkpoint]`.
    pub methods: Vec<Vec<MatchRule>>,
    /// `matches[checkpoint][&place]`: each checkpoint's tensor at each place. One parameter may
    /// have several names in a file.
    pub matches: Vec<Matches>,
    /// Floating-point initializers that are constants of the network.
    pub constants: Vec<String>,
    /// `passed_over[checkpoint]`: names of ignored tensors (integers, bookkeeping).
    pub passed_over: Vec<Vec<String>>,
    /// `copies[checkpoint]`: names of tied copies, and of the matched tensors that they equal.
    pub copies: Vec<BTreeMap<String, String>>,
    /// Patterns of the modules that --ignore-unused left out.
    pub unused: BTreeSet<String>,
    /// `renamed[checkpoint]`: how its names became the graph's.
    pub renamed: Vec<Renaming>,
    /// `verified[checkpoint]`: how the matches were verified.
    pub verified: Vec<Verified>,
    /// `left_out[checkpoint]`: the tensors that --ignore left out and that change the model.
    pub left_out: Vec<LeftOut>,
    /// Short sentences to stand beside the values and below the figures: matches by name only,
    /// averages of folded tensors.
    pub caveats: Vec<String>,
    /// What values between the checkpoints are, if averaging the tensors does not average the
    /// models' parameters.
    pub averages: Option<String>,
    /// Notes on what was passed over and why.
    pub notes: Vec<String>,
    /// Warnings for the reader of the results.
    pub warnings: Vec<String>,
}

impl Aligned {
    /// Makes the slot that puts a parameter into the graph under a name; without elements, they are
    /// supplied later.
    pub fn weight_slot(&self, index: usize, name: &str, elements: Option<Bytes>) -> WeightSlot {
        let parameter = &self.pool.parameters[index];
        WeightSlot {
            name: name.to_string(),
            dtype: parameter.dtype,
            shape: parameter.shape.clone(),
            places: self.places[index].clone(),
            elements,
        }
    }
}
