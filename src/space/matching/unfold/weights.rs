//! Weights that are normalized in the network: standardization, weight norm, spectral norm.

use super::computed::scaled;
use super::context::{Context, Target};
use super::layouts::{fit_shape, squeezed};
use crate::graph::unfold::{Expression, Function};
use crate::space::matching::proof::Telling;

/// Values of ε in use, the most usual first.
pub const EPSILONS: [f64; 8] = [1e-5, 1e-6, 1e-8, 1e-10, 1e-12, 1e-3, 1e-4, 0.0];

/// The expression of a normalized weight, and what it is called. `is_recorded` says that the
/// exporter's record names the operators.
pub fn normalized(
    context: &Context<'_>,
    names: &[&str],
    target: &Target,
    is_recorded: bool,
) -> Option<(Expression, &'static str)> {
    // A gain of 0 at θ0 makes every form fit.
    if target.array.is_uniform() {
        return None;
    }
    let whole = |name: &&&str| {
        let tensor = context.tensor(name);
        tensor.is_some_and(|it| it.len() == target.array.len() && it.shape.len() > 1)
    };
    names.iter().filter(whole).find_map(|weight| {
        let others: Vec<&str> = names.iter().filter(|it| *it != weight).copied().collect();
        // Without a record and a gain, a weight that is normal already proves no form.
        let as_it_is = || forms(context, weight, Expression::raw(weight), target);
        let is_alone = !is_recorded && others.is_empty();
        if is_alone && as_it_is().iter().any(|it| target.fits(context, it)) {
            return None;
        }
        let spectral = spectral(context, weight, &others, target);
        let norm = || weight_norm(context, weight, &others, target);
        let standardized = || standardized(context, weight, &others, target);
        spectral.or_else(norm).or_else(standardized)
    })
}

/// A weight as a matrix whose rows are its slices along an axis, and the way back.
struct Rows {
    matrix: Expression,
    order: Vec<usize>,
    moved: Vec<usize>,
}

impl Rows {
    fn of(context: &Context<'_>, name: &str, axis: usize) -> Option<Self> {
        let shape = context.shape(name)?;
        let rows = *shape.get(axis)?;
        let rest = (0..shape.len()).filter(|it| *it != axis);
        let order: Vec<usize> = std::iter::once(axis).chain(rest).collect();
        let moved: Vec<usize> = order.iter().map(|&it| shape[it]).collect();
        let width = shape.iter().product::<usize>() / rows.max(1);
        let raw = Expression::raw(name);
        let turned = if axis == 0 {
            raw
        } else {
            raw.transpose(&order)
        };
        Some(Self {
            matrix: fit_shape(turned, &moved, &[rows, width]),
            order,
            moved,
        })
    }

    /// A matrix of rows in the shape of the weight.
    fn back(&self, rows: Expression, matrix: [usize; 2]) -> Expression {
        let moved = fit_shape(rows, &matrix, &self.moved);
        if self.order.is_sorted() {
            return moved;
        }
        let mut inverse = vec![0; self.order.len()];
        for (to, &from) in self.order.iter().enumerate() {
            inverse[from] = to;
        }
        moved.transpose(&inverse)
    }

    fn shape(&self) -> [usize; 2] {
        let rows = self.moved[0];
        [rows, self.moved[1..].iter().product()]
    }
}

/// The forms of a weight's shape that the graph may hold.
fn forms(
    context: &Context<'_>,
    weight: &str,
    value: Expression,
    target: &Target,
) -> Vec<Expression> {
    let own = context.shape(weight).unwrap_or_default();
    let shape = &target.array.shape;
    let mut forms = Vec::new();
    if let [rows, columns] = own
        && squeezed(shape) == [*columns, *rows]
    {
        forms.push(fit_shape(
            value.clone().transpose(&[1, 0]),
            &[*columns, *rows],
            shape,
        ));
    }
    forms.insert(0, fit_shape(value, own, shape));
    forms
}

/// The first form that fits, as it is or times a constant.
fn fitting(
    context: &Context<'_>,
    weight: &str,
    value: Expression,
    target: &Target,
    with_factor: bool,
) -> Option<Expression> {
    let forms = forms(context, weight, value, target);
    let plain = forms.iter().find(|it| target.fits(context, it)).cloned();
    plain.or_else(|| {
        let mut forms = forms.into_iter().filter(|_| with_factor);
        forms.find_map(|it| scaled(context, it, target))
    })
}

/// g·v/‖v‖, with the norm over all axes but one, or over all (Salimans and Kingma 2016).
fn weight_norm(
    context: &Context<'_>,
    weight: &str,
    others: &[&str],
    target: &Target,
) -> Option<(Expression, &'static str)> {
    let shape = context.shape(weight)?;
    // Without a gain it is a normalized classifier.
    let gains = others.iter().copied().map(Some);
    let gains: Vec<Option<&str>> = match others.is_empty() {
        true => vec![None],
        false => gains.collect(),
    };
    for gain in gains {
        let count = gain
            .and_then(|gain| context.tensor(gain))
            .map(|it| it.len());
        for (axis, &size) in shape.iter().enumerate() {
            if count.is_some_and(|count| count != size) {
                continue;
            }
            let rows = Rows::of(context, weight, axis)?;
            let [height, width] = rows.shape();
            let square = rows.matrix.clone().mean_square();
            let length = square.scaled(width as f64).of(Function::Sqrt);
            let mut unit = rows.matrix.clone().over(length);
            if let Some(gain) = gain {
                unit = unit.times(Expression::raw(gain).reshape(&[height, 1]));
            }
            let value = rows.back(unit, [height, width]);
            if let Some(found) = fitting(context, weight, value, target, false) {
                return Some((found, "weight norm"));
            }
        }
        if count == Some(1) {
            let flat = Expression::raw(weight).reshape(&[1, target.array.len()]);
            let length = flat.clone().mean_square().scaled(target.array.len() as f64);
            let unit = flat.over(length.of(Function::Sqrt));
            let value = unit
                .times(Expression::raw(gain?).reshape(&[1, 1]))
                .reshape(shape);
            if let Some(found) = fitting(context, weight, value, target, false) {
                return Some((found, "weight norm"));
            }
        }
    }
    None
}

/// (w − mean)/√(var + ε) by output channel, with or without a gain and a constant (Qiao et al.
/// 2019; Brock et al. 2021).
fn standardized(
    context: &Context<'_>,
    weight: &str,
    others: &[&str],
    target: &Target,
) -> Option<(Expression, &'static str)> {
    let rows = Rows::of(context, weight, 0)?;
    let [height, width] = rows.shape();
    if others.len() > 1 || width < 2 {
        return None;
    }
    let gain = others.first();
    let is_gain = |it: &&str| context.tensor(it).is_some_and(|it| it.len() == height);
    if !gain.is_none_or(is_gain) {
        return None;
    }
    let mean = rows.matrix.clone().mean().of(Function::Neg);
    let centred = rows.matrix.clone().plus(mean);
    let biased = centred.clone().mean_square();
    let factor = width as f64 / (width as f64 - 1.0);
    let variances = [biased.clone(), biased.scaled(factor)];
    for variance in variances {
        for epsilon in EPSILONS {
            let inside = variance.clone().shifted(epsilon).of(Function::Sqrt);
            let outside = variance.clone().of(Function::Sqrt).shifted(epsilon);
            for deviation in [inside, outside] {
                let mut value = centred.clone().over(deviation);
                if let Some(gain) = gain {
                    value = value.times(Expression::raw(gain).reshape(&[height, 1]));
                }
                let value = rows.back(value, [height, width]);
                // The deviation of a single row is a constant like any other.
                if let Some(found) = fitting(context, weight, value, target, height > 1) {
                    return Some((found, "weight standardization"));
                }
            }
        }
    }
    None
}

/// w/σ with σ = uᵀWv, whose u and v are buffers (Miyato et al. 2018).
fn spectral(
    context: &Context<'_>,
    weight: &str,
    others: &[&str],
    target: &Target,
) -> Option<(Expression, &'static str)> {
    let [first, second] = others else {
        return None;
    };
    for axis in 0..context.shape(weight)?.len().min(2) {
        let rows = Rows::of(context, weight, axis)?;
        let [height, width] = rows.shape();
        for (u, v) in [(first, second), (second, first)] {
            let fits =
                |name: &str, size: usize| context.shape(name).is_some_and(|shape| *shape == [size]);
            if !fits(u, height) || !fits(v, width) {
                continue;
            }
            let v = Expression::raw(v).reshape(&[1, width]);
            let image = rows.matrix.clone().times(v).mean().scaled(width as f64);
            let u = Expression::raw(u).reshape(&[1, height]);
            let product = image.reshape(&[1, height]).times(u);
            let sigma = product.mean().scaled(height as f64);
            let value = rows.matrix.clone().over(sigma);
            let value = rows.back(value, [height, width]);
            if let Some(found) = fitting(context, weight, value, target, false) {
                return Some((found, "spectral norm"));
            }
        }
    }
    None
}
