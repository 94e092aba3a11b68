//! Tensors put together in one: q, k and v of attention.

use super::computed::scaled;
use super::context::{Context, Target};
use crate::graph::unfold::Expression;

/// Tensors put together along an axis, some of them times a constant.
pub fn joined(context: &Context<'_>, names: &[&str], target: &Target) -> Option<Expression> {
    let shape = target.array.shape.clone();
    (0..shape.len()).find_map(|axis| {
        let (mut at, mut parts, mut rest) = (0, Vec::new(), names.to_vec());
        while at < shape[axis] {
            let (expression, size, name) = part(context, &rest, target, axis, at)?;
            parts.push(expression);
            rest.retain(|it| *it != name);
            at += size;
        }
        (parts.len() > 1).then_some(Expression::Concat(parts, axis))
    })
}

/// The only tensor that stands at a position along an axis.
fn part<'n>(
    context: &Context<'_>,
    names: &[&'n str],
    target: &Target,
    axis: usize,
    at: usize,
) -> Option<(Expression, usize, &'n str)> {
    let shape = &target.array.shape;
    let mut found: Option<(Expression, usize, &str)> = None;
    for name in names {
        let Some(own) = context.shape(name) else {
            continue;
        };
        let mut options = vec![(Expression::raw(name), own.to_vec())];
        if let [rows, columns] = own {
            let turned = Expression::raw(name).transpose(&[1, 0]);
            options.push((turned, vec![*columns, *rows]));
        }
        for (expression, own) in options {
            let fits = own.len() == shape.len()
                && (0..own.len()).all(|it| it == axis || own[it] == shape[it]);
            if !fits || at + own[axis] > shape[axis] || own[axis] == shape[axis] {
                continue;
            }
            let Some(array) = target.array.slice(axis, at, at + own[axis]) else {
                continue;
            };
            let here = Target {
                array,
                unit: target.unit,
            };
            let expression = match here.fits(context, &expression) {
                true => Some(expression),
                false => scaled(context, expression, &here),
            };
            let Some(expression) = expression else {
                continue;
            };
            if found.is_some() {
                // Two tensors of equal values: which one it is cannot be told.
                return None;
            }
            found = Some((expression, own[axis], name));
        }
    }
    found
}
