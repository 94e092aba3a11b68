//! What a rule is given and what it gives back.

use super::super::node::Node;
use super::super::tape::Tape;
use crate::error::Result;

/// The gradient in each output, where there is one, turned into that in each input; of inputs that
/// none is wanted of, and of those left out at the end, there may be none.
pub type Rule = fn(&mut Tape, &Node<'_>, Given<'_>) -> Gradients;

/// Gradients in the outputs of a node, by slot.
pub type Given<'a> = &'a [Option<String>];

/// Gradients in its inputs, by slot.
pub type Gradients = Result<Vec<Option<String>>>;

/// The gradient in the first output.
pub fn first(given: Given<'_>) -> &str {
    given.first().and_then(Option::as_deref).unwrap_or_default()
}

/// The gradients of an operator of one input.
pub fn one(gradient: Result<String>) -> Gradients {
    Ok(vec![Some(gradient?)])
}

/// A gradient in the broadcast shape of an input brought to its own.
pub fn back(
    tape: &mut Tape,
    node: &Node<'_>,
    slot: usize,
    gradient: &str,
) -> Result<Option<String>> {
    let shape = tape.shape(node.input(slot))?;
    tape.unbroadcast(gradient, &shape).map(Some)
}
