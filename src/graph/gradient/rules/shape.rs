//! Operators that rearrange elements.

use super::super::node::{Node, from_front};
use super::super::tape::{AxisRange, Tape};
use super::super::values::Value;
use super::rule::{Given, Gradients, back, first, one};
use crate::error::Result;
use crate::graph::build::int;

/// Reshape, Flatten, Squeeze and Unsqueeze.
pub fn reshaped(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let shape = tape.shape(node.input(0))?;
    one(tape.reshape(first(given), &shape))
}

pub fn transpose(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let rank = tape.value(node.input(0))?.shape.len();
    let mut inverse = vec![0; rank];
    for axis in 0..rank {
        let from = match node.ints("perm") {
            Some(order) => order[axis] as usize,
            None => rank - 1 - axis,
        };
        inverse[from] = axis;
    }
    one(tape.transpose(first(given), &inverse))
}

pub fn concat(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let rank = tape.value(node.input(0))?.shape.len();
    let axis = node.axis(0, rank);
    let (mut start, mut gradients) = (0, Vec::new());
    for (slot, input) in node.proto.input.iter().enumerate() {
        let count = tape.value(input)?.shape[axis];
        gradients.push(if node.wants(slot) {
            Some(tape.slice(first(given), axis, AxisRange::range(start, count))?)
        } else {
            None
        });
        start += count;
    }
    Ok(gradients)
}

pub fn split(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let rank = tape.value(node.input(0))?.shape.len();
    let axis = node.axis(0, rank);
    let mut parts = Vec::new();
    for (output, gradient) in node.proto.output.iter().zip(given) {
        parts.push(match gradient {
            Some(gradient) => gradient.clone(),
            None => {
                let shape = tape.shape(output)?;
                tape.zeros(node.input(0), &shape)?
            }
        });
    }
    one(tape.concat(&parts, axis))
}

/// A slice along one axis: its indices in ascending order, and whether it runs backwards.
struct Cut {
    axis: usize,
    part: AxisRange,
    reversed: bool,
}

pub fn slice(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let shape = tape.shape(node.input(0))?;
    let (mut parts, mut gradient) = (Vec::new(), first(given).to_string());
    for cut in cuts(tape, node, &shape)? {
        if cut.reversed {
            gradient = tape.reversed(&gradient, cut.axis)?;
        }
        parts.push((cut.axis, cut.part));
    }
    one(tape.unslice(&gradient, &parts, &shape))
}

fn cuts(tape: &Tape, node: &Node<'_>, shape: &[usize]) -> Result<Vec<Cut>> {
    let list = |slot: usize| match node.optional(slot) {
        None => Ok(None),
        Some(input) => match tape.ints_of(input) {
            Some(list) => Ok(Some(list.to_vec())),
            None => Err(node.unsupported("at places that are computed")),
        },
    };
    let starts = list(1)?.unwrap_or_default();
    let axes = list(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let output = tape.shape(node.output(0))?;
    let cut = |((&start, &axis), &step): ((&i64, &i64), &i64)| {
        let axis = from_front(axis, shape.len());
        let (size, count) = (shape[axis] as i64, output[axis]);
        let start = if start < 0 {
            start.saturating_add(size)
        } else {
            start
        };
        let step_size = step.unsigned_abs() as usize;
        let first = if step > 0 {
            start.clamp(0, size)
        } else {
            // The last index taken is the first from the front.
            start.min(size - 1) - (count.max(1) as i64 - 1) * step_size as i64
        };
        Cut {
            axis,
            part: AxisRange {
                start: first.max(0) as usize,
                count,
                step: step_size.max(1),
            },
            reversed: step < 0,
        }
    };
    Ok(starts.iter().zip(&axes).zip(&steps).map(cut).collect())
}

/// How the elements of blocks of an image become channels and back.
struct Blocks {
    /// Shape of the deep side, with the positions in a block as two axes.
    split: [usize; 6],
    /// Order of its axes in the wide side.
    order: [usize; 6],
}

impl Blocks {
    /// Makes it for a shape of the deep side.
    fn of(node: &Node<'_>, deep: &[usize]) -> Result<Self> {
        let &[batch, channels, rows, columns] = deep else {
            return Err(node.unsupported("of other than four axes"));
        };
        let block = node.int("blocksize", 1).max(1) as usize;
        let outer = channels / (block * block);
        let (split, order) = match node.word("mode", "DCR").as_str() {
            "CRD" => ([outer, block, block], [0, 1, 4, 2, 5, 3]),
            _ => ([block, block, outer], [0, 3, 4, 1, 5, 2]),
        };
        let [a, b, c] = split;
        Ok(Self {
            split: [batch, a, b, c, rows, columns],
            order,
        })
    }
}

pub fn depth_to_space(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let deep = tape.shape(node.input(0))?;
    let Blocks { split, order } = Blocks::of(node, &deep)?;
    let wide = tape.reshape(first(given), &order.map(|axis| split[axis]))?;
    let mut inverse = [0; 6];
    for (place, axis) in order.into_iter().enumerate() {
        inverse[axis] = place;
    }
    let reordered = tape.transpose(&wide, &inverse)?;
    one(tape.reshape(&reordered, &deep))
}

pub fn space_to_depth(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let deep = tape.shape(node.output(0))?;
    let wide = tape.shape(node.input(0))?;
    let Blocks { split, order } = Blocks::of(node, &deep)?;
    let split = tape.reshape(first(given), &split)?;
    let reordered = tape.transpose(&split, &order)?;
    one(tape.reshape(&reordered, &wide))
}

pub fn expand(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    Ok(vec![back(tape, node, 0, first(given))?])
}

/// Copies are summed: an axis with r copies of n elements is [r, n].
pub fn tile(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (shape, tiled) = (tape.shape(node.input(0))?, tape.shape(node.output(0))?);
    let axes = shape.iter().zip(&tiled);
    let split: Vec<usize> = axes.flat_map(|(&n, &all)| [all / n.max(1), n]).collect();
    let copies: Vec<usize> = (0..shape.len()).map(|axis| 2 * axis).collect();
    let split = tape.reshape(first(given), &split)?;
    one(tape.sum(&split, &copies, false))
}

pub fn pad(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let shape = tape.shape(node.input(0))?;
    if node.wants(2) {
        return Err(node.unsupported("in the value that it pads with"));
    }
    let Some(pads) = tape.ints_of(node.input(1)).map(<[i64]>::to_vec) else {
        return Err(node.unsupported("with pads that are computed"));
    };
    let axes: Vec<usize> = match node.optional(3).map(|axes| tape.ints_of(axes)) {
        None => (0..shape.len()).collect(),
        Some(Some(axes)) => axes.iter().map(|&a| from_front(a, shape.len())).collect(),
        Some(None) => return Err(node.unsupported("along axes that are computed")),
    };
    let mode = node.word("mode", "constant");
    let mut gradient = first(given).to_string();
    for (k, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[k], pads[axes.len() + k]);
        gradient = match mode.as_str() {
            "constant" => unpadded(tape, &gradient, axis, before, after)?,
            _ => folded(tape, node, &gradient, axis, (before, shape[axis]), &mode)?,
        };
    }
    Ok(vec![Some(gradient)])
}

/// Removes the pads of an axis; negative pads, which cut, become zeros.
fn unpadded(tape: &mut Tape, dy: &str, axis: usize, before: i64, after: i64) -> Result<String> {
    let rank = tape.value(dy)?.shape.len();
    let size = tape.value(dy)?.shape[axis];
    let cut = |pad: i64| pad.max(0) as usize;
    let part = AxisRange::range(cut(before), size - cut(before) - cut(after));
    let inner = tape.slice(dy, axis, part)?;
    let (mut front, mut end) = (vec![0; rank], vec![0; rank]);
    front[axis] = cut(-before);
    end[axis] = cut(-after);
    tape.pad(&inner, &front, &end)
}

/// Sums repeated elements where they came from: a product with a matrix of zeros and ones. Elements
/// that negative pads cut off are cut before the rest is repeated.
fn folded(
    tape: &mut Tape,
    node: &Node<'_>,
    dy: &str,
    axis: usize,
    (before, size): (i64, usize),
    mode: &str,
) -> Result<String> {
    let padded = tape.value(dy)?.shape[axis];
    if padded == size && before == 0 {
        return Ok(dy.to_string());
    }
    let after = padded as i64 - size as i64 - before;
    let cut = (-before).max(0);
    let n = size as i64 - cut - (-after).max(0);
    let source = |place: usize| {
        let at = place as i64 - before.max(0);
        match mode {
            _ if n < 1 => None,
            "edge" => Some(at.clamp(0, n - 1)),
            "wrap" => Some(at.rem_euclid(n)),
            "reflect" if n > 1 => {
                let at = at.rem_euclid(2 * (n - 1));
                Some(at.min(2 * (n - 1) - at))
            }
            _ => None,
        }
    };
    let mut matrix = vec![0.0; padded * size];
    for place in 0..padded {
        let Some(source) = source(place) else {
            return Err(node.unsupported(&format!("in the mode `{mode}`")));
        };
        matrix[place * size + (cut + source) as usize] = 1.0;
    }
    tape.along(dy, axis, &matrix, size)
}

pub fn trilu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let value = tape.value(node.input(0))?;
    let value = Value::new(value.dtype, value.shape.clone());
    let mut inputs = vec![first(given)];
    inputs.extend(node.optional(1));
    let upper = vec![int("upper", node.int("upper", 1))];
    Ok(vec![Some(tape.op("Trilu", &inputs, upper, value))])
}
