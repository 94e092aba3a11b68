//! Matrix products.

use std::collections::HashMap;

use super::super::node::Node;
use super::super::tape::Tape;
use super::super::values::Value;
use super::rule::{Given, Gradients, back, first};
use crate::error::Result;
use crate::graph::build::{float, int, word};

/// α·A′B′, where ′ may mean a transpose.
fn gemm_of(
    tape: &mut Tape,
    (a, turn_a): (&str, bool),
    (b, turn_b): (&str, bool),
    alpha: f32,
) -> Result<String> {
    let (left, right) = (tape.value(a)?, tape.value(b)?);
    let shape = vec![
        left.shape[usize::from(turn_a)],
        right.shape[usize::from(!turn_b)],
    ];
    let value = Value::new(left.dtype, shape);
    let attributes = vec![
        float("alpha", alpha),
        int("transA", i64::from(turn_a)),
        int("transB", i64::from(turn_b)),
    ];
    Ok(tape.op("Gemm", &[a, b], attributes, value))
}

/// α·A′B′ + β·C.
pub fn gemm(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, a, b) = (first(given), node.input(0), node.input(1));
    let (turn_a, turn_b) = (node.int("transA", 0) != 0, node.int("transB", 0) != 0);
    let alpha = node.float("alpha", 1.0);
    let mut gradients = vec![None, None, None];
    if node.wants(0) {
        gradients[0] = Some(if turn_a {
            gemm_of(tape, (b, turn_b), (dy, true), alpha)?
        } else {
            gemm_of(tape, (dy, false), (b, !turn_b), alpha)?
        });
    }
    if node.wants(1) {
        gradients[1] = Some(if turn_b {
            gemm_of(tape, (dy, true), (a, turn_a), alpha)?
        } else {
            gemm_of(tape, (a, !turn_a), (dy, false), alpha)?
        });
    }
    if node.wants(2) {
        let scaled = tape.scaled(dy, f64::from(node.float("beta", 1.0)))?;
        gradients[2] = back(tape, node, 2, &scaled)?;
    }
    Ok(gradients)
}

/// A·B over the last two axes; a vector on the left is a row, one on the right a column.
pub fn matmul(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (a_shape, b_shape) = (tape.shape(node.input(0))?, tape.shape(node.input(1))?);
    let mut y_shape = tape.shape(node.output(0))?;
    let (mut a_matrix, mut b_matrix) = (a_shape.clone(), b_shape.clone());
    if b_shape.len() == 1 {
        b_matrix.push(1);
        y_shape.push(1);
    }
    if a_shape.len() == 1 {
        a_matrix.insert(0, 1);
        y_shape.insert(y_shape.len() - 1, 1);
    }
    let a = tape.reshape(node.input(0), &a_matrix)?;
    let b = tape.reshape(node.input(1), &b_matrix)?;
    let dy = tape.reshape(first(given), &y_shape)?;
    let mut gradients = vec![None, None];
    // One product with a matrix on the right is faster than many.
    let is_flat = b_matrix.len() == 2;
    let rows = |shape: &[usize]| {
        vec![
            shape[..shape.len() - 1].iter().product(),
            shape[shape.len() - 1],
        ]
    };
    if node.wants(0) {
        let gradient = if is_flat {
            let dy = tape.reshape(&dy, &rows(&y_shape))?;
            gemm_of(tape, (&dy, false), (&b, true), 1.0)?
        } else {
            let transposed = tape.transposed(&b)?;
            let product = tape.matmul(&dy, &transposed)?;
            tape.unbroadcast(&product, &a_matrix)?
        };
        gradients[0] = Some(tape.reshape(&gradient, &a_shape)?);
    }
    if node.wants(1) {
        let gradient = if is_flat {
            let a = tape.reshape(&a, &rows(&a_matrix))?;
            let dy = tape.reshape(&dy, &rows(&y_shape))?;
            gemm_of(tape, (&a, true), (&dy, false), 1.0)?
        } else {
            let transposed = tape.transposed(&a)?;
            let product = tape.matmul(&transposed, &dy)?;
            tape.unbroadcast(&product, &b_matrix)?
        };
        gradients[1] = Some(tape.reshape(&gradient, &b_shape)?);
    }
    Ok(gradients)
}

/// The size of each letter. An operand that is broadcast along a letter has size 1 there.
fn sizes(tape: &Tape, terms: &[&str], operands: &[&str]) -> Result<HashMap<char, usize>> {
    let mut sizes = HashMap::new();
    for (term, operand) in terms.iter().zip(operands) {
        for (letter, &size) in term.chars().zip(&tape.value(operand)?.shape) {
            let known = sizes.entry(letter).or_insert(size);
            *known = size.max(*known);
        }
    }
    Ok(sizes)
}

/// The gradient of an operand is the product of the other operands with the gradient of the result,
/// over the same letters. A letter that only this operand has was summed over: the gradient is
/// constant along it.
pub fn einsum(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let equation: String = node.word("equation", "");
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let Some((left, result)) = equation.split_once("->") else {
        return Err(node.unsupported("without `->`"));
    };
    let terms: Vec<&str> = left.split(',').collect();
    let repeats = |term: &str| term.chars().enumerate().any(|(i, c)| term[..i].contains(c));
    if equation.contains('.') || terms.iter().any(|term| repeats(term)) {
        return Err(node.unsupported("with an ellipsis or a diagonal"));
    }
    let operands: Vec<&str> = node.proto.input.iter().map(String::as_str).collect();
    let all = sizes(tape, &terms, &operands)?;
    let gradient = |slot: usize| -> Result<Option<String>> {
        if !node.wants(slot) {
            return Ok(None);
        }
        let (mut inputs, mut from) = (vec![first(given)], vec![result]);
        for other in (0..terms.len()).filter(|&other| other != slot) {
            inputs.push(operands[other]);
            from.push(terms[other]);
        }
        let known = sizes(tape, &from, &inputs)?;
        let target = terms[slot];
        let letters: String = target.chars().filter(|c| known.contains_key(c)).collect();
        let equation = word("equation", &format!("{}->{letters}", from.join(",")));
        let shape = letters.chars().map(|c| known[&c]).collect();
        let value = Value::new(tape.value(operands[slot])?.dtype, shape);
        let product = tape.op("Einsum", &inputs, vec![equation], value);
        let kept = target.chars().map(|c| known.get(&c).copied().unwrap_or(1));
        let product = tape.reshape(&product, &kept.collect::<Vec<usize>>())?;
        let whole: Vec<usize> = target.chars().map(|c| all[&c]).collect();
        let gradient = tape.expand(&product, &whole)?;
        back(tape, node, slot, &gradient)
    };
    (0..terms.len()).map(gradient).collect()
}
