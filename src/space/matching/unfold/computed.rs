//! Expressions that compute: functions, constants, sums and products.

use super::context::{Context, Target};
use super::layouts::{shaped, views};
use crate::graph::unfold::{Array, Expression, Function};
use crate::space::matching::proof::Telling;

/// Elements that a tensor needs at least, not all equal, so that a constant of proportionality is
/// no chance.
const TELLING: usize = 4;

/// Factors nearer to 1 are no constants of a network: the state dict is another model's.
const NEAR_ONE: f64 = 0.01;

/// Operators of the exporter's record that [`Function`]s stand for.
pub fn function(operator: &str) -> Option<Function> {
    let mut all = Function::ALL.into_iter();
    all.find(|it| it.operator().eq_ignore_ascii_case(operator))
}

/// Functions of one tensor, in the order in which their values fit. `operators` are those of the
/// exporter's record; without one, the usual ones are tried.
pub fn functions(
    context: &Context<'_>,
    name: &str,
    target: &Target,
    operators: Option<&[String]>,
) -> Option<Expression> {
    let known = operators.map(|operators| {
        let functions = operators.iter().filter_map(|it| function(it));
        functions.collect::<Vec<_>>()
    });
    let chains = match &known {
        Some(functions) if functions.is_empty() => return None,
        Some(functions) => chains(functions),
        None => vec![
            vec![Function::Exp],
            vec![Function::Exp, Function::Neg],
            vec![Function::Softplus],
            vec![Function::Neg],
        ],
    };
    let bases = shaped(context, name, &target.array.shape);
    let of = |base: &Expression, chain: &Vec<Function>| {
        let apply = |it: Expression, function: &Function| it.of(*function);
        chain.iter().fold(base.clone(), apply)
    };
    let all = bases
        .iter()
        .flat_map(|base| chains.iter().map(move |chain| of(base, chain)));
    // Without a record, values must tell: exp(0) is 1, and so is 1 + 0. With one, they tell the order
    // of several functions, each of which is recorded once.
    let several = chains.iter().any(|chain| chain.len() > 1);
    // 0, 1 and −1 alone are what many functions give.
    let (is_uniform, is_trivial) = (target.array.is_uniform(), target.array.is_trivial());
    let must_tell = operators.is_none() && is_uniform && is_trivial;
    if must_tell || (operators.is_some() && several && (is_uniform || is_trivial)) {
        return None;
    }
    let mut fitting = all.filter(|it| target.fits(context, it));
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

/// Every order of some functions, each used once.
fn chains(functions: &[Function]) -> Vec<Vec<Function>> {
    if functions.len() <= 1 {
        return vec![functions.to_vec()];
    }
    let mut all = Vec::new();
    // More than three are never seen.
    for (index, first) in functions.iter().take(3).enumerate() {
        let mut rest = functions.to_vec();
        rest.remove(index);
        for mut chain in chains(&rest) {
            chain.insert(0, *first);
            // A function that is recorded twice gives the same order twice.
            if !all.contains(&chain) {
                all.push(chain);
            }
        }
    }
    all
}

/// One tensor times a constant, plus a constant, or subtracted from one.
pub fn affine(context: &Context<'_>, name: &str, target: &Target) -> Option<Expression> {
    let bases = shaped(context, name, &target.array.shape);
    bases.into_iter().find_map(|base| {
        let scaled = scaled(context, base.clone(), target);
        let shifted = || shifted_by(context, base.clone(), target);
        let from = || shifted_by(context, base.clone().of(Function::Neg), target);
        scaled.or_else(shifted).or_else(from)
    })
}

/// An expression times the constant that makes it the target, if there is one.
pub fn scaled(
    context: &Context<'_>,
    expression: Expression,
    target: &Target,
) -> Option<Expression> {
    let value = context.value(&expression)?;
    if !tells(&value, target) {
        return None;
    }
    let pairs = value.data.iter().zip(&target.array.data);
    let product: f64 = pairs.map(|(x, y)| x * y).sum();
    let square: f64 = value.data.iter().map(|x| x * x).sum();
    let factor = product / square;
    let is_sound = factor.is_finite() && factor != 0.0 && (factor - 1.0).abs() > NEAR_ONE;
    let expression = expression.scaled(factor);
    (is_sound && target.fits(context, &expression)).then_some(expression)
}

/// An expression plus the constant that makes it the target, if there is one.
fn shifted_by(context: &Context<'_>, base: Expression, target: &Target) -> Option<Expression> {
    let value = context.value(&base)?;
    if !tells(&value, target) {
        return None;
    }
    let pairs = value.data.iter().zip(&target.array.data);
    let by = pairs.map(|(x, y)| y - x).sum::<f64>() / value.len() as f64;
    // Constants are short numbers; the mean of differences is only near one.
    let short = (by * 1e4).round() / 1e4;
    let by = if (by - short).abs() < 1e-6 { short } else { by };
    let expression = base.shifted(by);
    (by != 0.0 && target.fits(context, &expression)).then_some(expression)
}

/// Whether a tensor has enough to tell a constant from chance.
fn tells(value: &Array, target: &Target) -> bool {
    let is_telling = !value.is_uniform() && !value.is_trivial();
    value.shape == target.array.shape && value.len() >= TELLING && is_telling
}

/// Which of two tensors' sum and product are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// a + b.
    Sum,
    /// a·b.
    Product,
}

/// The sum or product of two tensors, each of which may be a range of rows or broadcast.
pub fn pair(
    context: &Context<'_>,
    [first, second]: [&str; 2],
    pairing: Pairing,
    target: &Target,
) -> Option<Expression> {
    let shape = &target.array.shape;
    let (ours, theirs) = (views(context, first, shape), views(context, second, shape));
    let all = ours.iter().flat_map(|a| {
        theirs.iter().map(move |b| match pairing {
            Pairing::Sum => a.clone().plus(b.clone()),
            Pairing::Product => a.clone().times(b.clone()),
        })
    });
    let mut fitting = all.filter(|it| target.fits(context, it));
    let found = fitting.next()?;
    fitting.next().is_none().then_some(found)
}
