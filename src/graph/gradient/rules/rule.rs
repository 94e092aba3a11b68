//! The signature of rules: gradients of outputs in, gradients of inputs out.

use super::super::node::Node;
use super::super::tape::Tape;
use crate::error::Result;

/// Turns the gradient of each output, if there is one, into that of each input. Gradients may be
/// missing for inputs where none is wanted and for omitted inputs at the end.
pub type Rule = fn(&mut Tape, &Node<'_>, Given<'_>) -> Gradients;

/// `given[slot]`: gradients of a node's outputs.
pub type Given<'a> = &'a [Option<String>];

/// `gradients[slot]`: gradients of a node's inputs.
pub type Gradients = Result<Vec<Option<String>>>;

/// The gradient of the first output.
pub fn first(given: Given<'_>) -> &str {
    given.first().and_then(Option::as_deref).unwrap_or_default()
}

/// Wraps the gradient of an operator with one input.
pub fn one(gradient: Result<String>) -> Gradients {
    Ok(vec![Some(gradient?)])
}

/// Reduces a gradient in the broadcast shape to the shape of an input.
pub fn back(
    tape: &mut Tape,
    node: &Node<'_>,
    slot: usize,
    gradient: &str,
) -> Result<Option<String>> {
    let shape = tape.shape(node.input(slot))?;
    tape.unbroadcast(gradient, &shape).map(Some)
}
