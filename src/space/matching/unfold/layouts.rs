//! Expressions that only rearrange the elements of one tensor: shapes, transposes, ranges.

use super::context::{Context, Target};
use crate::graph::unfold::{Array, Expression};
use crate::space::matching::proof::Telling;

/// Axes that are permuted in every order; more are kept in place.
const PERMUTED: usize = 4;

/// Expressions of one tensor with a shape, by shape alone: as it is, reshaped, or as the transpose
/// of a matrix.
pub fn shaped(context: &Context<'_>, name: &str, shape: &[usize]) -> Vec<Expression> {
    let Some(own) = context.shape(name) else {
        return Vec::new();
    };
    let raw = Expression::raw(name);
    if own == shape {
        let square = own.len() == 2 && own[0] == own[1];
        let turned = square.then(|| raw.clone().transpose(&[1, 0]));
        return std::iter::once(raw).chain(turned).collect();
    }
    let mut found = Vec::new();
    if own.iter().product::<usize>() == shape.iter().product::<usize>() {
        if own.len() == 2 && squeezed(shape) == [own[1], own[0]] {
            found.push(fit_shape(
                raw.clone().transpose(&[1, 0]),
                &[own[1], own[0]],
                shape,
            ));
        }
        found.push(raw.reshape(shape));
    }
    found
}

/// Expressions of one tensor that may be broadcast to a shape: [`shaped`], its first rows, or a row
/// that is repeated.
pub fn views(context: &Context<'_>, name: &str, shape: &[usize]) -> Vec<Expression> {
    let mut found = shaped(context, name, shape);
    let Some(own) = context.shape(name) else {
        return found;
    };
    let wanted = squeezed(shape);
    if let ([rows, width], Some(&last)) = (own, shape.last())
        && *width == last
    {
        if let [count, _] = wanted[..]
            && count < *rows
        {
            let part = Expression::raw(name).slice(0, 0, count);
            found.push(fit_shape(part, &[count, *width], shape));
        }
        let row = |row: usize| {
            Expression::raw(name)
                .slice(0, row, row + 1)
                .reshape(&[last])
        };
        found.extend((0..(*rows).min(4)).map(row));
    }
    // Broadcasting may do the rest.
    let mut axes = own.iter().rev().zip(shape.iter().rev());
    let broadcasts = own.len() <= shape.len() && axes.all(|(own, size)| own == size || *own == 1);
    if broadcasts && found.is_empty() {
        found.push(Expression::raw(name));
    }
    found
}

/// The expression of one tensor whose elements are the target's, in another layout. `None` if there
/// is none, or several that differ.
pub fn layout(context: &Context<'_>, name: &str, target: &Target) -> Option<Expression> {
    // Elements are decoded, and kept, only if their number fits.
    if context.tensor(name)?.len() != target.array.len() {
        return None;
    }
    let raw = context.raw(name)?;
    let shape = &target.array.shape;
    if !same_elements(&raw, target) {
        return None;
    }
    let plain = shaped(context, name, shape);
    if raw.is_uniform() {
        // Every order fits; the plain one is meant unless a matrix may be turned, as a square one may.
        let is_plain = squeezed(&raw.shape).len() < 2 || raw.shape == *shape;
        let sure = is_plain && plain.len() == 1;
        return plain.into_iter().next().filter(|_| sure);
    }
    let fitting = plain.into_iter().filter(|it| target.fits(context, it));
    let fitting: Vec<Expression> = fitting.collect();
    match fitting.len() {
        0 => permuted(context, name, &raw, target),
        1 => fitting.into_iter().next(),
        // A matrix that equals its transpose.
        _ => None,
    }
}

fn permuted(context: &Context<'_>, name: &str, raw: &Array, target: &Target) -> Option<Expression> {
    if raw.shape.len() > PERMUTED {
        return None;
    }
    let orders = orders(raw.shape.len()).into_iter().map(|order| {
        let shape: Vec<usize> = order.iter().map(|&axis| raw.shape[axis]).collect();
        let turned = Expression::raw(name).transpose(&order);
        fit_shape(turned, &shape, &target.array.shape)
    });
    let mut fitting = orders.filter(|it| target.fits(context, it));
    let first = fitting.next()?;
    // Axes of size 1 make several orders equal.
    let many = fitting.next().is_some() && !raw.shape.contains(&1);
    (!many).then_some(first)
}

/// A range of a tensor along an axis, or a row that is repeated.
pub fn range(context: &Context<'_>, name: &str, target: &Target) -> Option<Expression> {
    let raw = context.raw(name)?;
    let wanted = squeezed(&target.array.shape);
    if raw.len() <= target.array.len() && wanted.len() < 2 {
        return None;
    }
    let mut found = Vec::new();
    for turned in [false, true] {
        let base = match (turned, raw.shape.len()) {
            (false, _) => Expression::raw(name),
            (true, 2) => Expression::raw(name).transpose(&[1, 0]),
            (true, _) => continue,
        };
        let array = context.value(&base)?;
        found.extend(ranges(&base, &array, target));
    }
    let rows = views(context, name, &target.array.shape)
        .into_iter()
        .filter(|it| {
            let value = context.value(it);
            let value = value.and_then(|it| it.expand(&target.array.shape));
            !it.is_raw() && value.is_some_and(|it| target.is(&it))
        });
    found.extend(
        rows.map(|it| it.expand(&target.array.shape))
            .filter(|_| raw.len() < target.array.len()),
    );
    let first = found.first().cloned();
    first.filter(|_| found.len() == 1)
}

fn ranges(base: &Expression, array: &Array, target: &Target) -> Vec<Expression> {
    let shape = &target.array.shape;
    let own = squeezed(shape);
    let mut found = Vec::new();
    for axis in 0..array.shape.len() {
        let mut part = array.shape.clone();
        let rest: usize = array.len() / array.shape[axis].max(1);
        if rest == 0 || !target.array.len().is_multiple_of(rest) {
            continue;
        }
        let count = target.array.len() / rest;
        part[axis] = count;
        if count >= array.shape[axis] || count == 0 || squeezed(&part) != own {
            continue;
        }
        for start in 0..=array.shape[axis] - count {
            let first = array.slice(axis, start, start + 1);
            // The first element decides most.
            let begins = first.is_some_and(|it| it.data[0] == target.array.data[0]);
            let value = begins
                .then(|| array.slice(axis, start, start + count))
                .flatten();
            let value = value.and_then(|it| it.reshape(shape));
            if value.is_some_and(|it| target.is(&it)) {
                let slice = base.clone().slice(axis, start, start + count);
                found.push(fit_shape(slice, &part, shape));
            }
        }
    }
    found
}

/// Whether two tensors have the same elements in any order, as far as their sums tell.
fn same_elements(raw: &Array, target: &Target) -> bool {
    let sums = |array: &Array| {
        let plain: f64 = array.data.iter().sum();
        let size: f64 = array.data.iter().map(|x| x.abs()).sum();
        (plain, size)
    };
    let ((plain, size), (other, other_size)) = (sums(raw), sums(&target.array));
    let allowed = 4.0 * target.unit * size;
    (plain - other).abs() <= allowed && (size - other_size).abs() <= allowed
}

/// A shape without axes of size 1.
pub fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&size| size != 1).collect()
}

/// Reshapes an expression of one shape to another, if they differ.
pub fn fit_shape(expression: Expression, own: &[usize], shape: &[usize]) -> Expression {
    if own == shape {
        expression
    } else {
        expression.reshape(shape)
    }
}

/// All orders of axes but the plain one.
fn orders(rank: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..rank {
        let longer = orders.iter().flat_map(|order: &Vec<usize>| {
            let free = (0..rank).filter(|axis| !order.contains(axis));
            free.map(|axis| {
                let mut order = order.clone();
                order.push(axis);
                order
            })
        });
        orders = longer.collect();
    }
    orders.retain(|order| !order.is_sorted());
    orders
}
