//! Checkpoints aligned with the origin: the pool, and what its reader should know.

use bytes::Bytes;

use super::left_out::LeftOut;
use super::matches::{Matches, Method, Verified};
use crate::graph::network::Place;
use crate::graph::skeleton::WeightSlot;
use crate::space::pool::Pool;

/// The pool and what a user should know about how it was put together.
#[derive(Debug)]
pub struct Aligned {
    /// Origin and checkpoints over the same parameters.
    pub pool: Pool,
    /// Where the graph reads each parameter: `places[parameter]`, never empty.
    pub places: Vec<Vec<Place>>,
    /// How each parameter was found in each checkpoint: `methods[parameter][checkpoint]`.
    pub methods: Vec<Vec<Method>>,
    /// Each checkpoint's tensor at each place: `matches[checkpoint][&place]`. One parameter may have
    /// several names in a file.
    pub matches: Vec<Matches>,
    /// Floating-point initializers that are constants of the network.
    pub constants: Vec<String>,
    /// Names of tensors passed over (integers, bookkeeping): `passed_over[checkpoint]`.
    pub passed_over: Vec<Vec<String>>,
    /// What shows that the tensors stand where they belong: `verified[checkpoint]`.
    pub verified: Vec<Verified>,
    /// What --ignore took out, where that changes the model: `left_out[checkpoint]`.
    pub left_out: Vec<LeftOut>,
    /// What is to stand beside values between the checkpoints, where averaging the tensors is not
    /// averaging the models' parameters.
    pub caveat: Option<String>,
    /// Warnings for the reader of the results.
    pub warnings: Vec<String>,
}

impl Aligned {
    /// Where and how a parameter is put into the graph, under a name; without elements they are to
    /// be handed over.
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
