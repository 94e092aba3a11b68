//! Rewrites operators that have no double kernel (ONNX Runtime 1.32 on the CPU), or one that
//! computes in float, by other operators.

use std::f64::consts::FRAC_1_SQRT_2;

use super::super::kernel_window::{CHANNELS_FIRST, KernelWindow};
use super::super::node::Node;
use super::super::rules::attention::Attention;
use super::super::rules::normalize::Grouped;
use super::super::rules::{pool, resize};
use super::super::tape::{AxisRange, Tape};
use crate::error::Result;

type Lowering = fn(&mut Tape, &Node<'_>) -> Result<String>;

/// The rewritten operators; each function returns the value of the first output.
pub const OPERATORS: &[(&str, Lowering)] = &[
    ("Conv", conv),
    ("ConvTranspose", conv_transpose),
    ("MaxUnpool", |tape, node| {
        let shape = tape.shape(node.output(0))?;
        pool::scattered(tape, node.input(0), node.input(1), &shape)
    }),
    ("AveragePool", average_pool),
    ("GlobalAveragePool", global_average),
    ("GlobalMaxPool", global_max),
    ("Resize", resize::resized),
    ("Attention", |tape, node| {
        Attention::of(tape, node)?.result(tape, node)
    }),
    ("InstanceNormalization", grouped),
    ("GroupNormalization", grouped),
    ("Mean", mean),
    ("Erf", |tape, node| erf(tape, node.input(0))),
    ("Gelu", gelu),
    ("Elu", elu),
    ("Selu", selu),
    ("Celu", celu),
    ("LeakyRelu", leaky_relu),
    ("PRelu", |tape, node| {
        let below = tape.mul(node.input(0), node.input(1))?;
        by_sign(tape, node.input(0), node.input(0), &below)
    }),
    ("ThresholdedRelu", |tape, node| {
        let alpha = f64::from(node.float("alpha", 1.0));
        let above = tape.compare_number("Greater", node.input(0), alpha)?;
        tape.masked(&above, node.input(0))
    }),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", hard_swish),
    ("Softplus", |tape, node| softplus(tape, node.input(0))),
    ("Softsign", softsign),
    ("Mish", |tape, node| {
        let soft = softplus(tape, node.input(0))?;
        let soft = tape.unary("Tanh", &soft)?;
        tape.mul(node.input(0), &soft)
    }),
];

/// The products of the weight, [groups, outputs per group, seen], with the elements in each window.
fn conv(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let (x, w) = (node.input(0), node.input(1));
    let (large, small) = (tape.shape(x)?, tape.shape(node.output(0))?);
    let weight = tape.shape(w)?;
    let window = KernelWindow::of(node, &weight[2..], &large[2..], &small[2..])?;
    let groups = node.int("group", 1).max(1) as usize;
    let places = small[2..].iter().product();
    let seen = weight[1] * window.len();
    let columns = window.columns(tape, x, &small[2..])?;
    let columns = tape.reshape(&columns, &[large[0], groups, seen, places])?;
    let w = tape.reshape(w, &[1, groups, weight[0] / groups, seen])?;
    let product = tape.matmul(&w, &columns)?;
    let y = tape.reshape(&product, &small)?;
    with_bias(tape, node, &y)
}

/// Adds the third input, if there is one, channel by channel.
fn with_bias(tape: &mut Tape, node: &Node<'_>, y: &str) -> Result<String> {
    let Some(bias) = node.optional(2) else {
        return Ok(y.to_string());
    };
    let mut shape = vec![1; tape.value(y)?.shape.len()];
    shape[1] = tape.value(bias)?.shape[0];
    let bias = tape.reshape(bias, &shape)?;
    tape.add(y, &bias)
}

/// Each element of the kernel adds its products to the elements that it covers.
fn conv_transpose(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let (x, w) = (node.input(0), node.input(1));
    let (small, large) = (tape.shape(x)?, tape.shape(node.output(0))?);
    let weight = tape.shape(w)?;
    let window = KernelWindow::of(node, &weight[2..], &large[2..], &small[2..])?;
    let groups = node.int("group", 1).max(1) as usize;
    let (channels, outputs) = (weight[0] / groups, weight[1]);
    let places: usize = small[2..].iter().product();
    let flat = tape.reshape(x, &[small[0], groups, channels, places])?;
    let w = tape.reshape(w, &[groups, channels, outputs, window.len()])?;
    // [kernel, groups, outputs, channels].
    let w = tape.transpose(&w, &[3, 0, 2, 1])?;
    let part_shape = [&[small[0], groups * outputs], &small[2..]].concat();
    let padded = window.padded_shape(&large, &small[2..]);
    let mut sum: Option<String> = None;
    for at in 0..window.len() {
        let one = AxisRange::range(at, 1);
        let kernel = tape.slice(&w, 0, one)?;
        let product = tape.matmul(&kernel, &flat)?;
        let product = tape.reshape(&product, &part_shape)?;
        let part = tape.unslice(
            &product,
            &window.places(at, &small[2..], CHANNELS_FIRST),
            &padded,
        )?;
        sum = Some(tape.sum_with(sum, part)?);
    }
    let y = window.cropped(tape, &sum.unwrap_or_default(), &large[2..])?;
    with_bias(tape, node, &y)
}

fn average_pool(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let small = tape.shape(node.output(0))?;
    let window = pool::window(tape, node)?;
    let columns = window.columns(tape, node.input(0), &small[2..])?;
    let sum = tape.sum(&columns, &[2], false)?;
    let sum = tape.reshape(&sum, &small)?;
    let rates = pool::rates(tape, node, &window)?;
    tape.mul(&sum, &rates)
}

fn global_average(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let axes: Vec<usize> = (2..tape.value(node.input(0))?.shape.len()).collect();
    tape.mean(node.input(0), &axes)
}

fn global_max(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let shape = tape.shape(node.input(0))?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    tape.largest(node.input(0), &axes, node.opset)
}

fn grouped(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let shape = tape.shape(node.input(0))?;
    let grouped = Grouped::of(tape, node)?;
    let scale = tape.reshape(node.input(1), &grouped.parameters)?;
    let bias = tape.reshape(node.input(2), &grouped.parameters)?;
    let scaled = tape.mul(&grouped.normal.hat, &scale)?;
    let moved = tape.add(&scaled, &bias)?;
    tape.reshape(&moved, &shape)
}

fn mean(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let mut sum = node.input(0).to_string();
    for input in &node.proto.input[1..] {
        sum = tape.add(&sum, input)?;
    }
    tape.scaled(&sum, 1.0 / node.proto.input.len() as f64)
}

/// `above` where x > 0, `below` elsewhere.
fn by_sign(tape: &mut Tape, x: &str, above: &str, below: &str) -> Result<String> {
    let positive = tape.compare_number("Greater", x, 0.0)?;
    tape.select(&positive, above, below)
}

/// a(eˣ − 1) for x ≤ 0. Where x > 0 the result is not used, and x counts as 0 to avoid overflow.
fn below_zero(tape: &mut Tape, x: &str, a: f64) -> Result<String> {
    let zero = tape.number(x, 0.0)?;
    let x = tape.binary("Min", x, &zero)?;
    let exp = tape.unary("Exp", &x)?;
    let less = tape.plus(&exp, -1.0)?;
    tape.scaled(&less, a)
}

fn elu(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let x = node.input(0);
    let below = below_zero(tape, x, f64::from(node.float("alpha", 1.0)))?;
    by_sign(tape, x, x, &below)
}

fn selu(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let (x, gamma) = (node.input(0), f64::from(node.float("gamma", 1.050_701)));
    let below = below_zero(tape, x, f64::from(node.float("alpha", 1.673_263_2)))?;
    let y = by_sign(tape, x, x, &below)?;
    tape.scaled(&y, gamma)
}

fn celu(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let (x, alpha) = (node.input(0), f64::from(node.float("alpha", 1.0)));
    let scaled = tape.scaled(x, 1.0 / alpha)?;
    let below = below_zero(tape, &scaled, alpha)?;
    by_sign(tape, x, x, &below)
}

fn leaky_relu(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let x = node.input(0);
    let below = tape.scaled(x, f64::from(node.float("alpha", 0.01)))?;
    by_sign(tape, x, x, &below)
}

/// αx + β, clamped to between 0 and 1.
fn ramp(tape: &mut Tape, x: &str, alpha: f64, beta: f64) -> Result<String> {
    let y = tape.scaled(x, alpha)?;
    let y = tape.plus(&y, beta)?;
    let (zero, one) = (tape.number(x, 0.0)?, tape.number(x, 1.0)?);
    let y = tape.binary("Max", &y, &zero)?;
    tape.binary("Min", &y, &one)
}

fn hard_sigmoid(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    ramp(tape, node.input(0), f64::from(alpha), f64::from(beta))
}

fn hard_swish(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let ramp = ramp(tape, node.input(0), 1.0 / 6.0, 0.5)?;
    tape.mul(node.input(0), &ramp)
}

/// max(x, 0) + log(1 + exp(−|x|)).
fn softplus(tape: &mut Tape, x: &str) -> Result<String> {
    let size = tape.unary("Abs", x)?;
    let fall = tape.neg(&size)?;
    let fall = tape.unary("Exp", &fall)?;
    let more = tape.plus(&fall, 1.0)?;
    let more = tape.unary("Log", &more)?;
    let positive = tape.unary("Relu", x)?;
    tape.add(&positive, &more)
}

fn softsign(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let size = tape.unary("Abs", node.input(0))?;
    let size = tape.plus(&size, 1.0)?;
    tape.div(node.input(0), &size)
}

/// x·Φ(x). For the tanh approximation there is a kernel; it is written out all the same.
fn gelu(tape: &mut Tape, node: &Node<'_>) -> Result<String> {
    let x = node.input(0);
    let inner = match node.word("approximate", "none").as_str() {
        "tanh" => {
            let square = tape.mul(x, x)?;
            let inner = tape.scaled(&square, 0.044_715)?;
            let inner = tape.plus(&inner, 1.0)?;
            let inner = tape.mul(&inner, x)?;
            let inner = tape.scaled(&inner, (2.0 / std::f64::consts::PI).sqrt())?;
            tape.unary("Tanh", &inner)?
        }
        _ => {
            let scaled = tape.scaled(x, FRAC_1_SQRT_2)?;
            erf(tape, &scaled)?
        }
    };
    let area = tape.plus(&inner, 1.0)?;
    let half = tape.scaled(x, 0.5)?;
    tape.mul(&half, &area)
}

/// A polynomial, the highest coefficient first.
fn polynomial(tape: &mut Tape, x: &str, coefficients: &[f64]) -> Result<String> {
    let mut sum = tape.number(x, coefficients[0])?;
    for &coefficient in &coefficients[1..] {
        sum = tape.mul(&sum, x)?;
        sum = tape.plus(&sum, coefficient)?;
    }
    Ok(sum)
}

fn ratio(tape: &mut Tape, x: &str, above: &[f64], below: &[f64]) -> Result<String> {
    let above = polynomial(tape, x, above)?;
    let below = polynomial(tape, x, below)?;
    tape.div(&above, &below)
}

/// The error function, by the rational approximations of Cody 1969 (Rational Chebyshev
/// approximations for the error function, tables II and III), relative error below 1e-15.
fn erf(tape: &mut Tape, x: &str) -> Result<String> {
    let size = tape.unary("Abs", x)?;
    let sign = tape.unary("Sign", x)?;
    // Near 0: x·P(x²)/Q(x²). Each argument is clamped to the range where its formula is used.
    let end = tape.number(x, NEAR_END)?;
    let near = tape.binary("Min", &size, &end)?;
    let square = tape.mul(&near, &near)?;
    let small = ratio(tape, &square, &NEAR.0, &NEAR.1)?;
    let small = tape.mul(&small, &near)?;
    // Up to 4: 1 − exp(−x²)·P(x)/Q(x); at 6 the remainder is below half an ulp of 1.
    let (four, six) = (tape.number(x, 4.0)?, tape.number(x, 6.0)?);
    let middle = tape.binary("Max", &size, &end)?;
    let middle = tape.binary("Min", &middle, &four)?;
    let middle = complement(tape, &middle, |tape, at| {
        ratio(tape, at, &MIDDLE.0, &MIDDLE.1)
    })?;
    let far = tape.binary("Max", &size, &four)?;
    let far = tape.binary("Min", &far, &six)?;
    let far = complement(tape, &far, far_ratio)?;
    let is_middle = tape.compare("LessOrEqual", &size, &four)?;
    let large = tape.select(&is_middle, &middle, &far)?;
    let is_small = tape.compare("LessOrEqual", &size, &end)?;
    let all = tape.select(&is_small, &small, &large)?;
    tape.mul(&all, &sign)
}

/// 1 − exp(−x²)·r(x).
fn complement(
    tape: &mut Tape,
    x: &str,
    ratio: impl Fn(&mut Tape, &str) -> Result<String>,
) -> Result<String> {
    let square = tape.mul(x, x)?;
    let square = tape.neg(&square)?;
    let bell = tape.unary("Exp", &square)?;
    let ratio = ratio(tape, x)?;
    let rest = tape.mul(&bell, &ratio)?;
    let rest = tape.neg(&rest)?;
    tape.plus(&rest, 1.0)
}

/// (1/√π − P(1/x²)/(Q(1/x²)·x²))/x.
fn far_ratio(tape: &mut Tape, x: &str) -> Result<String> {
    let square = tape.mul(x, x)?;
    let inverse = tape.unary("Reciprocal", &square)?;
    let ratio = ratio(tape, &inverse, &FAR.0, &FAR.1)?;
    let part = tape.mul(&ratio, &inverse)?;
    let part = tape.neg(&part)?;
    let part = tape.plus(&part, 1.0 / std::f64::consts::PI.sqrt())?;
    tape.div(&part, x)
}

type Rational<const P: usize, const Q: usize> = ([f64; P], [f64; Q]);

/// Upper end of the first approximation.
const NEAR_END: f64 = 0.468_75;

#[allow(clippy::excessive_precision)] // The digits are the paper's.
const NEAR: Rational<5, 5> = (
    [
        1.857_777_061_846_031_53e-1,
        3.161_123_743_870_565_60,
        1.138_641_541_510_501_56e2,
        3.774_852_376_853_020_21e2,
        3.209_377_589_138_469_47e3,
    ],
    [
        1.0,
        2.360_129_095_234_412_09e1,
        2.440_246_379_344_441_73e2,
        1.282_616_526_077_372_28e3,
        2.844_236_833_439_170_62e3,
    ],
);

#[allow(clippy::excessive_precision)] // The digits are the paper's.
const MIDDLE: Rational<9, 9> = (
    [
        2.153_115_354_744_038_46e-8,
        5.641_884_969_886_700_89e-1,
        8.883_149_794_388_375_94,
        6.611_919_063_714_162_95e1,
        2.986_351_381_974_001_31e2,
        8.819_522_212_417_690_90e2,
        1.712_047_612_634_070_58e3,
        2.051_078_377_826_071_47e3,
        1.230_339_354_797_997_25e3,
    ],
    [
        1.0,
        1.574_492_611_070_983_47e1,
        1.176_939_508_913_124_99e2,
        5.371_811_018_620_098_58e2,
        1.621_389_574_566_690_19e3,
        3.290_799_235_733_459_63e3,
        4.362_619_090_143_247_16e3,
        3.439_367_674_143_721_64e3,
        1.230_339_354_803_749_42e3,
    ],
);

#[allow(clippy::excessive_precision)] // The digits are the paper's.
const FAR: Rational<6, 6> = (
    [
        1.631_538_713_730_209_78e-2,
        3.053_266_349_612_323_44e-1,
        3.603_448_999_498_044_39e-1,
        1.257_817_261_112_292_46e-1,
        1.608_378_514_874_227_66e-2,
        6.587_491_615_298_378_03e-4,
    ],
    [
        1.0,
        2.568_520_192_289_822_42,
        1.872_952_849_923_460_47,
        5.279_051_029_514_284_12e-1,
        6.051_834_131_244_131_91e-2,
        2.335_204_976_268_691_85e-3,
    ],
);
