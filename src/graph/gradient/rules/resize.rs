//! Resize, as a product with a matrix along each axis.

use super::super::node::{Node, from_front};
use super::super::tape::Tape;
use super::rule::{Given, Gradients, first, one};
use crate::error::Result;

/// The matrix of an axis, [`to`, `from`], row by row.
struct Map {
    axis: usize,
    from: usize,
    to: usize,
    weights: Vec<f64>,
}

pub fn resize(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let mut gradient = first(given).to_string();
    for map in maps(tape, node)? {
        gradient = tape.along(&gradient, map.axis, &map.weights, map.from)?;
    }
    one(Ok(gradient))
}

/// Writes the operator itself, which has no double kernel.
pub fn resized(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let mut x = node.input(0).to_string();
    for map in maps(tape, node)? {
        let mut transposed = vec![0.0; map.weights.len()];
        for (k, &weight) in map.weights.iter().enumerate() {
            transposed[(k % map.from) * map.to + k / map.from] = weight;
        }
        x = tape.along(&x, map.axis, &transposed, map.to)?;
    }
    Ok(x)
}

/// The axes whose size changes, with their matrices.
fn maps(tape: &Tape, node: &Node<'_>) -> Result<Vec<Map>> {
    if node.int("antialias", 0) != 0 {
        return Err(node.unsupported("with antialias"));
    }
    let (from, to) = (tape.shape(node.input(0))?, tape.shape(node.output(0))?);
    let scales = scales(tape, node, &from, &to)?;
    let mut maps = Vec::new();
    for (axis, scale) in scales.into_iter().enumerate() {
        let (from, to) = (from[axis], to[axis]);
        if from == to && scale == 1.0 {
            continue;
        }
        let mut weights = vec![0.0; to * from];
        for place in 0..to {
            let row = &mut weights[place * from..(place + 1) * from];
            let at = source(node, place, scale, (from, to))?;
            match node.word("mode", "nearest").as_str() {
                "nearest" => nearest(node, at, row)?,
                "linear" => linear(at, row),
                "cubic" => cubic(node, at, row),
                other => return Err(node.unsupported(&format!("in the mode `{other}`"))),
            }
        }
        maps.push(Map {
            axis,
            from,
            to,
            weights,
        });
    }
    Ok(maps)
}

/// The scale of each axis: as given, or from the sizes. The two differ if a scale does not lead to
/// a whole size. In f32, as in ONNX Runtime: the nearest element depends on it.
fn scales(tape: &Tape, node: &Node<'_>, from: &[usize], to: &[usize]) -> Result<Vec<f32>> {
    let by_size = from.iter().zip(to).map(|(&n, &m)| m as f32 / n as f32);
    let by_size: Vec<f32> = by_size.collect();
    let given = match node.optional(2) {
        Some(given) if tape.value(given)?.shape != [0] => given,
        _ if node.word("keep_aspect_ratio_policy", "stretch") != "stretch" => {
            return Err(node.unsupported("with keep_aspect_ratio_policy"));
        }
        _ => return Ok(by_size),
    };
    let Some(given) = tape.value(given)?.floats.clone() else {
        return Err(node.unsupported("with scales that are computed"));
    };
    let Some(axes) = node.ints("axes") else {
        return Ok(given);
    };
    let mut scales = vec![1.0; from.len()];
    for (&axis, scale) in axes.iter().zip(given) {
        scales[from_front(axis, from.len())] = scale;
    }
    Ok(scales)
}

/// The position of an element of the result among the elements of an axis.
fn source(node: &Node<'_>, place: usize, scale: f32, (from, to): (usize, usize)) -> Result<f32> {
    let (place, from, to) = (place as f32, from as f32, to as f32);
    let half_pixel = (place + 0.5) / scale - 0.5;
    // ONNX Runtime computes this one in double.
    let offset = f64::from(from / 2.0 * (1.0 - to / (scale * from)));
    let symmetric = offset + (f64::from(place) + 0.5) / f64::from(scale) - 0.5;
    let mode = node.word("coordinate_transformation_mode", "half_pixel");
    Ok(match mode.as_str() {
        _ if scale == 1.0 => place,
        "half_pixel" => half_pixel,
        "half_pixel_symmetric" => symmetric as f32,
        "pytorch_half_pixel" if to > 1.0 => half_pixel,
        "align_corners" if to > 1.0 => place * (from - 1.0) / (to - 1.0),
        "pytorch_half_pixel" | "align_corners" => 0.0,
        "asymmetric" => place / scale,
        other => return Err(node.unsupported(&format!("with the coordinates `{other}`"))),
    })
}

/// The nearest element.
fn nearest(node: &Node<'_>, at: f32, row: &mut [f64]) -> Result<()> {
    let rounding = node.word("nearest_mode", "round_prefer_floor");
    let place = match rounding.as_str() {
        "round_prefer_floor" if at - at.trunc() == 0.5 => at.floor(),
        "round_prefer_floor" | "round_prefer_ceil" => at.round(),
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        other => return Err(node.unsupported(&format!("rounding as `{other}`"))),
    };
    row[clamped(place, row.len())] = 1.0;
    Ok(())
}

/// The two neighbouring elements, weighted by distance.
fn linear(at: f32, row: &mut [f64]) {
    let last = row.len() - 1;
    let at = at.clamp(0.0, last as f32);
    let left = (at.floor() as usize).min(last);
    let share = f64::from(at - at.floor());
    row[left] += 1.0 - share;
    row[(left + 1).min(last)] += share;
}

/// The four neighbouring elements, by the cubic convolution of Keys 1981. Those beyond the ends
/// repeat the last ones, or are left out.
fn cubic(node: &Node<'_>, at: f32, row: &mut [f64]) {
    let a = f64::from(node.float("cubic_coeff_a", -0.75));
    let exclude = node.int("exclude_outside", 0) != 0;
    let (left, share) = (at.floor(), f64::from(at - at.floor()));
    let weight = |distance: f64| match distance {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
    };
    let mut sum = 0.0;
    for step in -1_i8..3 {
        let place = left + f32::from(step);
        let is_outside = place < 0.0 || place >= row.len() as f32;
        if !(exclude && is_outside) {
            let weight = weight((share - f64::from(step)).abs());
            row[clamped(place, row.len())] += weight;
            sum += weight;
        }
    }
    if exclude {
        row.iter_mut().for_each(|weight| *weight /= sum);
    }
}

/// Clamps a position to an axis.
fn clamped(place: f32, len: usize) -> usize {
    // The conversion to integer turns negative values into 0.
    (place as usize).min(len.saturating_sub(1))
}
