//! Attention as one operator: softmax(scale·Q·Kᵀ + mask)·V for each head.
//!
//! Several query heads may share one key head. Their rows are concatenated, so that there are as
//! many query heads as key heads and products need no broadcasting.

use super::super::node::Node;
use super::super::tape::Tape;
use super::super::values::Value;
use super::rule::{Given, Gradients, first};
use crate::checkpoint::onnx::proto::DataType;
use crate::error::Result;
use crate::graph::build::int;

/// Intermediate values of the operator.
pub struct Attention {
    /// The queries times the scale, [batch, key heads, rows, size].
    query: String,
    /// The keys, [batch, key heads, keys, size].
    key: String,
    /// The values, [batch, key heads, keys, size of values].
    value: String,
    /// The attention weights of the keys in each row, [batch, key heads, rows, keys].
    shares: String,
    scale: f64,
    /// Shape of the scores: [batch, query heads, queries, keys].
    scores: [usize; 4],
}

impl Attention {
    /// Writes everything but the last product.
    pub fn of(tape: &mut Tape, node: &Node<'_>) -> Result<Self> {
        refuse(node)?;
        let query = heads(tape, node.input(0), node.int("q_num_heads", 0))?;
        let key = heads(tape, node.input(1), node.int("kv_num_heads", 0))?;
        let value = heads(tape, node.input(2), node.int("kv_num_heads", 0))?;
        let (queries, keys) = (tape.shape(&query)?, tape.shape(&key)?);
        let scores = [queries[0], queries[1], queries[2], keys[2]];
        let by_size = 1.0 / (queries[3] as f64).sqrt();
        let scale = if node.has("scale") {
            f64::from(node.float("scale", 1.0))
        } else {
            by_size
        };
        let query = tape.scaled(&query, scale)?;
        let query = beside(tape, &query, keys[1])?;
        let transposed = tape.transposed(&key)?;
        let raw = tape.matmul(&query, &transposed)?;
        let raw = tape.reshape(&raw, &scores)?;
        let shares = shares(tape, node, &raw)?;
        Ok(Self {
            shares: beside(tape, &shares, keys[1])?,
            query,
            key,
            value,
            scale,
            scores,
        })
    }

    /// Writes the operator's result.
    pub fn result(&self, tape: &mut Tape, node: &Node<'_>) -> Result<String> {
        let product = tape.matmul(&self.shares, &self.value)?;
        let size = tape.shape(&self.value)?[3];
        let [batch, heads, rows, _] = self.scores;
        let product = tape.reshape(&product, &[batch, heads, rows, size])?;
        joined(tape, &product, &tape.shape(node.output(0))?)
    }
}

/// With P the attention weights and D = P∘(dY·Vᵀ − Σ P∘dY·Vᵀ) the gradient of the scores:
/// dQ = scale·D·K, dK = scale·Dᵀ·Q, dV = Pᵀ·dY, and the gradient of the mask is D itself.
pub fn attention(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let parts = Attention::of(tape, node)?;
    let (heads_of_keys, heads_of_queries) = (tape.shape(&parts.key)?[1], parts.scores[1]);
    let dy = heads(tape, first(given), heads_of_queries as i64)?;
    let dy = beside(tape, &dy, heads_of_keys)?;
    let transposed = tape.transposed(&parts.value)?;
    let d_shares = tape.matmul(&dy, &transposed)?;
    let product = tape.mul(&d_shares, &parts.shares)?;
    let sum = tape.sum(&product, &[3], true)?;
    let centred = tape.sub(&d_shares, &sum)?;
    let d_scores = tape.mul(&parts.shares, &centred)?;
    let mut gradients = vec![None; 4];
    if node.wants(0) {
        let gradient = tape.matmul(&d_scores, &parts.key)?;
        let gradient = tape.scaled(&gradient, parts.scale)?;
        let size = tape.shape(&parts.key)?[3];
        let [batch, heads, rows, _] = parts.scores;
        let gradient = tape.reshape(&gradient, &[batch, heads, rows, size])?;
        gradients[0] = Some(joined(tape, &gradient, &tape.shape(node.input(0))?)?);
    }
    for (slot, left, right) in [(1, &d_scores, &parts.query), (2, &parts.shares, &dy)] {
        if node.wants(slot) {
            let transposed = tape.transposed(left)?;
            let gradient = tape.matmul(&transposed, right)?;
            gradients[slot] = Some(joined(tape, &gradient, &tape.shape(node.input(slot))?)?);
        }
    }
    if node.wants(3) {
        let gradient = tape.reshape(&d_scores, &parts.scores)?;
        let shape = tape.shape(node.input(3))?;
        gradients[3] = Some(tape.unbroadcast(&gradient, &shape)?);
    }
    Ok(gradients)
}

fn refuse(node: &Node<'_>) -> Result<()> {
    let without = [
        (4, "with past keys and values"),
        (5, "with past keys and values"),
        (6, "with lengths of the keys"),
    ];
    for (slot, why) in without {
        if node.optional(slot).is_some() {
            return Err(node.unsupported(why));
        }
    }
    if node.float("softcap", 0.0) != 0.0 {
        return Err(node.unsupported("with softcap"));
    }
    if (1..4).any(|slot| !node.output(slot).is_empty()) {
        return Err(node.unsupported("with other results than the first"));
    }
    let windows = ["left_window_size", "right_window_size"];
    if windows.iter().any(|window| node.int(window, -1) >= 0) {
        return Err(node.unsupported("with a window"));
    }
    Ok(())
}

/// Reshapes [batch, rows, heads·size] to [batch, heads, rows, size], unless there are four axes.
fn heads(tape: &mut Tape, a: &str, count: i64) -> Result<String> {
    let shape = tape.shape(a)?;
    let &[batch, rows, width] = &shape[..] else {
        return Ok(a.to_string());
    };
    let count = count.max(1) as usize;
    let split = tape.reshape(a, &[batch, rows, count, width / count])?;
    tape.transpose(&split, &[0, 2, 1, 3])
}

/// Undoes [`heads`] for a value of a given shape.
fn joined(tape: &mut Tape, a: &str, shape: &[usize]) -> Result<String> {
    if shape.len() == 4 {
        return Ok(a.to_string());
    }
    let reordered = tape.transpose(a, &[0, 2, 1, 3])?;
    tape.reshape(&reordered, shape)
}

/// Concatenates query heads that share a key head: [batch, key heads, rows, size].
fn beside(tape: &mut Tape, a: &str, heads: usize) -> Result<String> {
    let shape = tape.shape(a)?;
    let rows = shape[1] * shape[2] / heads.max(1);
    tape.reshape(a, &[shape[0], heads, rows, shape[3]])
}

/// The softmax of the scores over the keys that mask and causality allow. A row without allowed
/// keys has weights of 0, as in ONNX Runtime.
fn shares(tape: &mut Tape, node: &Node<'_>, scores: &str) -> Result<String> {
    let value = tape.value(scores)?.clone();
    let lowest = match value.dtype {
        DataType::Float16 => f64::from(half::f16::MIN),
        DataType::Bfloat16 => f64::from(half::bf16::MIN),
        _ => f64::from(f32::MIN),
    };
    let (rows, keys) = (value.shape[2], value.shape[3]);
    let mut scores = scores.to_string();
    let mut allowed: Option<String> = None;
    if let Some(mask) = node.optional(3) {
        if tape.shape(mask)?.last() != Some(&keys) {
            return Err(node.unsupported("with a mask that is shorter than the keys"));
        }
        allowed = Some(match tape.value(mask)?.dtype {
            DataType::Bool => mask.to_string(),
            _ => {
                scores = tape.add(&scores, mask)?;
                // Only −∞ is smaller.
                tape.compare_number("GreaterOrEqual", mask, lowest)?
            }
        });
    }
    if node.int("is_causal", 0) != 0 {
        let before = (0..rows).flat_map(|row| (0..keys).map(move |key| key <= row));
        let before: Vec<bool> = before.collect();
        let before = tape.bools(&before, vec![rows, keys]);
        allowed = Some(match allowed {
            Some(allowed) => tape.compare("And", &allowed, &before)?,
            None => before,
        });
    }
    let softmax = |tape: &mut Tape, scores: &str| {
        let value = Value::new(value.dtype, value.shape.clone());
        tape.op("Softmax", &[scores], vec![int("axis", -1)], value)
    };
    let Some(allowed) = allowed else {
        return Ok(softmax(tape, &scores));
    };
    let lowest = tape.number(&scores, lowest)?;
    let scores = tape.select(&allowed, &scores, &lowest)?;
    let shares = softmax(tape, &scores);
    tape.masked(&allowed, &shares)
}
