//! Elementwise operators.
//!
//! At kinks the derivative is PyTorch's: 0 for ReLU at 0; equal maxima share it.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::super::node::Node;
use super::super::tape::Tape;
use super::rule::{Given, Gradients, back, first, one};
use crate::error::Result;

pub fn add(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let dy = first(given);
    let slots = 0..2;
    slots
        .map(|slot| {
            if node.wants(slot) {
                back(tape, node, slot, dy)
            } else {
                Ok(None)
            }
        })
        .collect()
}

pub fn sub(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let mut gradients = add(tape, node, given)?;
    if let Some(gradient) = gradients[1].take() {
        gradients[1] = Some(tape.neg(&gradient)?);
    }
    Ok(gradients)
}

pub fn mul(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let dy = first(given);
    let mut gradients = vec![None, None];
    for (slot, other) in [(0, 1), (1, 0)] {
        if node.wants(slot) {
            let product = tape.mul(dy, node.input(other))?;
            gradients[slot] = back(tape, node, slot, &product)?;
        }
    }
    Ok(gradients)
}

pub fn div(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let over = tape.div(first(given), node.input(1))?;
    let mut gradients = vec![None, None];
    if node.wants(0) {
        gradients[0] = back(tape, node, 0, &over)?;
    }
    if node.wants(1) {
        let product = tape.mul(&over, node.output(0))?;
        let product = tape.neg(&product)?;
        gradients[1] = back(tape, node, 1, &product)?;
    }
    Ok(gradients)
}

pub fn sum(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let slots = 0..node.proto.input.len();
    slots
        .map(|slot| back(tape, node, slot, first(given)))
        .collect()
}

pub fn mean(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let count = node.proto.input.len();
    let part = tape.scaled(first(given), 1.0 / count as f64)?;
    let slots = 0..count;
    slots.map(|slot| back(tape, node, slot, &part)).collect()
}

pub fn neg(tape: &mut Tape, _node: &Node<'_>, given: Given<'_>) -> Gradients {
    one(tape.neg(first(given)))
}

/// d(xʸ) = y·xʸ⁻¹ dx + xʸ·ln x dy.
pub fn pow(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, x) = (first(given), node.input(0));
    let mut gradients = vec![None, None];
    if node.wants(0) {
        let dtype = tape.value(x)?.dtype;
        let y = tape.cast(node.input(1), dtype)?;
        let less = tape.plus(&y, -1.0)?;
        let power = tape.binary("Pow", x, &less)?;
        let slope = tape.mul(&power, &y)?;
        let product = tape.mul(dy, &slope)?;
        gradients[0] = back(tape, node, 0, &product)?;
    }
    if node.wants(1) {
        let log = tape.unary("Log", x)?;
        let slope = tape.mul(&log, node.output(0))?;
        let product = tape.mul(dy, &slope)?;
        // 0ʸ is 0 for every y that has a derivative there.
        let is_zero = tape.compare_number("Equal", x, 0.0)?;
        let zero = tape.number(&product, 0.0)?;
        let product = tape.select(&is_zero, &zero, &product)?;
        gradients[1] = back(tape, node, 1, &product)?;
    }
    Ok(gradients)
}

/// Min and Max with any number of inputs.
pub fn extreme(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, y) = (first(given), node.output(0));
    let dtype = tape.value(y)?.dtype;
    let hits = node.proto.input.iter().map(|input| {
        let hit = tape.compare("Equal", input, y)?;
        tape.cast(&hit, dtype)
    });
    let hits = hits.collect::<Result<Vec<String>>>()?;
    let mut count = hits[0].clone();
    for hit in &hits[1..] {
        count = tape.add(&count, hit)?;
    }
    let share = tape.div(dy, &count)?;
    let slots = 0..hits.len();
    slots
        .map(|slot| {
            let product = tape.mul(&share, &hits[slot])?;
            back(tape, node, slot, &product)
        })
        .collect()
}

pub fn r#where(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (condition, dy) = (node.input(0), first(given));
    let zero = tape.number(dy, 0.0)?;
    let mut gradients = vec![None, None, None];
    if node.wants(1) {
        let part = tape.select(condition, dy, &zero)?;
        gradients[1] = back(tape, node, 1, &part)?;
    }
    if node.wants(2) {
        let part = tape.select(condition, &zero, dy)?;
        gradients[2] = back(tape, node, 2, &part)?;
    }
    Ok(gradients)
}

pub fn abs(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let sign = tape.unary("Sign", node.input(0))?;
    one(tape.mul(first(given), &sign))
}

pub fn sqrt(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let half = tape.scaled(first(given), 0.5)?;
    one(tape.div(&half, node.output(0)))
}

pub fn reciprocal(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let y = node.output(0);
    let square = tape.mul(y, y)?;
    let product = tape.mul(first(given), &square)?;
    one(tape.neg(&product))
}

pub fn exp(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    one(tape.mul(first(given), node.output(0)))
}

pub fn log(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    one(tape.div(first(given), node.input(0)))
}

pub fn sin(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let slope = tape.unary("Cos", node.input(0))?;
    one(tape.mul(first(given), &slope))
}

pub fn cos(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let slope = tape.unary("Sin", node.input(0))?;
    let product = tape.mul(first(given), &slope)?;
    one(tape.neg(&product))
}

/// erf′(x) = 2/√π · exp(−x²).
pub fn erf(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let x = node.input(0);
    let square = tape.mul(x, x)?;
    let square = tape.neg(&square)?;
    let bell = tape.unary("Exp", &square)?;
    let slope = tape.scaled(&bell, 2.0 / PI.sqrt())?;
    one(tape.mul(first(given), &slope))
}

/// 1 − a².
fn one_minus_square(tape: &mut Tape, a: &str) -> Result<String> {
    let square = tape.mul(a, a)?;
    let one = tape.number(a, 1.0)?;
    tape.sub(&one, &square)
}

pub fn tanh(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let slope = one_minus_square(tape, node.output(0))?;
    one(tape.mul(first(given), &slope))
}

/// y·(1 − y).
fn logistic_slope(tape: &mut Tape, y: &str) -> Result<String> {
    let square = tape.mul(y, y)?;
    tape.sub(y, &square)
}

pub fn sigmoid(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let slope = logistic_slope(tape, node.output(0))?;
    one(tape.mul(first(given), &slope))
}

pub fn relu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    if tape.facts.is_pooled(node.output(0)) {
        // The pools after it pass on no gradient that the ReLU would block.
        return identity(tape, node, given);
    }
    let positive = tape.compare_number("Greater", node.output(0), 0.0)?;
    one(tape.masked(&positive, first(given)))
}

/// dy where x > 0, `below`·dy elsewhere.
fn by_sign(tape: &mut Tape, x: &str, dy: &str, above: f64, below: &str) -> Gradients {
    let positive = tape.compare_number("Greater", x, 0.0)?;
    let above = tape.scaled(dy, above)?;
    let below = tape.mul(dy, below)?;
    one(tape.select(&positive, &above, &below))
}

pub fn leaky_relu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let x = node.input(0);
    let alpha = tape.number(x, f64::from(node.float("alpha", 0.01)))?;
    by_sign(tape, x, first(given), 1.0, &alpha)
}

/// x above a bound, 0 below.
pub fn thresholded_relu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let alpha = f64::from(node.float("alpha", 1.0));
    let above = tape.compare_number("Greater", node.input(0), alpha)?;
    one(tape.masked(&above, first(given)))
}

pub fn p_relu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (dy, x, slope) = (first(given), node.input(0), node.input(1));
    let mut gradients = by_sign(tape, x, dy, 1.0, slope)?;
    if node.wants(1) {
        let negative = tape.compare_number("Less", x, 0.0)?;
        let product = tape.mul(dy, x)?;
        let part = tape.masked(&negative, &product)?;
        gradients.push(back(tape, node, 1, &part)?);
    }
    Ok(gradients)
}

/// y = a(eˣ − 1) below 0; the derivative there is y + a.
pub fn elu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let alpha = f64::from(node.float("alpha", 1.0));
    let below = tape.plus(node.output(0), alpha)?;
    by_sign(tape, node.input(0), first(given), 1.0, &below)
}

pub fn selu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let alpha = f64::from(node.float("alpha", 1.673_263_2));
    let gamma = f64::from(node.float("gamma", 1.050_701));
    let below = tape.plus(node.output(0), alpha * gamma)?;
    by_sign(tape, node.input(0), first(given), gamma, &below)
}

pub fn celu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let alpha = f64::from(node.float("alpha", 1.0));
    let below = tape.scaled(node.output(0), 1.0 / alpha)?;
    let below = tape.plus(&below, 1.0)?;
    by_sign(tape, node.input(0), first(given), 1.0, &below)
}

/// The gradient is 0 at a bound and beyond (ReLU6 is exported as Clip).
pub fn clip(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    if node.wants(1) || node.wants(2) {
        return Err(node.unsupported("in its bounds"));
    }
    let x = node.input(0);
    let mut gradient = first(given).to_string();
    for (slot, operator) in [(1, "Greater"), (2, "Less")] {
        if let Some(bound) = node.optional(slot) {
            let inside = tape.compare(operator, x, bound)?;
            gradient = tape.masked(&inside, &gradient)?;
        }
    }
    Ok(vec![Some(gradient)])
}

pub fn hard_sigmoid(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let alpha = f64::from(node.float("alpha", 0.2));
    let y = node.output(0);
    let slope = tape.scaled(first(given), alpha)?;
    let above = tape.compare_number("Greater", y, 0.0)?;
    let below = tape.compare_number("Less", y, 1.0)?;
    let part = tape.masked(&above, &slope)?;
    one(tape.masked(&below, &part))
}

/// x·min(1, max(0, x/6 + ½)): derivative x/3 + ½ between −3 and 3.
pub fn hard_swish(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let x = node.input(0);
    let slope = tape.scaled(x, 1.0 / 3.0)?;
    let slope = tape.plus(&slope, 0.5)?;
    let one_ = tape.number(x, 1.0)?;
    let above = tape.compare_number("GreaterOrEqual", x, 3.0)?;
    let slope = tape.select(&above, &one_, &slope)?;
    let inside = tape.compare_number("Greater", x, -3.0)?;
    let slope = tape.masked(&inside, &slope)?;
    one(tape.mul(first(given), &slope))
}

/// x·Φ(x), or its approximation by tanh (Hendrycks and Gimpel 2016).
pub fn gelu(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let slope = match node.word("approximate", "none").as_str() {
        "tanh" => gelu_slope_tanh(tape, node.input(0))?,
        _ => gelu_slope(tape, node.input(0))?,
    };
    one(tape.mul(first(given), &slope))
}

/// Φ(x) + x·φ(x).
fn gelu_slope(tape: &mut Tape, x: &str) -> Result<String> {
    let scaled = tape.scaled(x, FRAC_1_SQRT_2)?;
    let erf = tape.unary("Erf", &scaled)?;
    let area = tape.plus(&erf, 1.0)?;
    let area = tape.scaled(&area, 0.5)?;
    let square = tape.mul(&scaled, &scaled)?;
    let square = tape.neg(&square)?;
    let bell = tape.unary("Exp", &square)?;
    let bell = tape.scaled(&bell, 1.0 / (2.0 * PI).sqrt())?;
    let second = tape.mul(x, &bell)?;
    tape.add(&area, &second)
}

/// With u = √(2/π)(x + 0.044715 x³) and t = tanh u: ½(1 + t) + ½x(1 − t²)u′.
fn gelu_slope_tanh(tape: &mut Tape, x: &str) -> Result<String> {
    let (root, cubic) = ((2.0 / PI).sqrt(), 0.044_715);
    let square = tape.mul(x, x)?;
    let inner = tape.scaled(&square, cubic)?;
    let inner = tape.plus(&inner, 1.0)?;
    let inner = tape.mul(&inner, x)?;
    let inner = tape.scaled(&inner, root)?;
    let t = tape.unary("Tanh", &inner)?;
    let rise = tape.scaled(&square, 3.0 * cubic)?;
    let rise = tape.plus(&rise, 1.0)?;
    let rise = tape.scaled(&rise, 0.5 * root)?;
    let steep = one_minus_square(tape, &t)?;
    let steep = tape.mul(&steep, &rise)?;
    let steep = tape.mul(&steep, x)?;
    let area = tape.plus(&t, 1.0)?;
    let area = tape.scaled(&area, 0.5)?;
    tape.add(&area, &steep)
}

pub fn softplus(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let slope = tape.unary("Sigmoid", node.input(0))?;
    one(tape.mul(first(given), &slope))
}

/// x/(1 + |x|).
pub fn softsign(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let size = tape.unary("Abs", node.input(0))?;
    let size = tape.plus(&size, 1.0)?;
    let square = tape.mul(&size, &size)?;
    one(tape.div(first(given), &square))
}

/// x·w with w = tanh(softplus(x)): w + x·σ(x)·(1 − w²).
pub fn mish(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let x = node.input(0);
    let soft = tape.unary("Softplus", x)?;
    let w = tape.unary("Tanh", &soft)?;
    let steep = one_minus_square(tape, &w)?;
    let sigmoid = tape.unary("Sigmoid", x)?;
    let steep = tape.mul(&steep, &sigmoid)?;
    let steep = tape.mul(&steep, x)?;
    let slope = tape.add(&w, &steep)?;
    one(tape.mul(first(given), &slope))
}

/// x·s with s = σ(αx): s + α·x·s(1 − s).
pub fn swish(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let (x, alpha) = (node.input(0), f64::from(node.float("alpha", 1.0)));
    let scaled = tape.scaled(x, alpha)?;
    let s = tape.unary("Sigmoid", &scaled)?;
    let steep = logistic_slope(tape, &s)?;
    let steep = tape.mul(&steep, &scaled)?;
    let slope = tape.add(&s, &steep)?;
    one(tape.mul(first(given), &slope))
}

pub fn identity(_tape: &mut Tape, _node: &Node<'_>, given: Given<'_>) -> Gradients {
    Ok(vec![given[0].clone()])
}

/// Dropout is the identity in inference.
pub fn dropout(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let training = node.optional(2);
    if training.is_some_and(|training| tape.ints_of(training) != Some(&[0])) {
        return Err(node.unsupported("in training mode; export the model after .eval()"));
    }
    identity(tape, node, given)
}

pub fn cast(tape: &mut Tape, node: &Node<'_>, given: Given<'_>) -> Gradients {
    let value = tape.value(node.input(0))?;
    if value.is_float() {
        let dtype = value.dtype;
        one(tape.cast(first(given), dtype))
    } else {
        Ok(Vec::new())
    }
}
