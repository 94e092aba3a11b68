//! Rows of a table at constant indices: position embeddings of a fixed length, biases of relative
//! positions.
//!
//! The exporter folds the lookup, and with it the arithmetic that made the indices. Each row of the
//! folded tensor must be exactly one row of the table, bit by bit. What the record has besides the
//! lookup must not change numbers that are rows of the table at θ0 only by chance: sums and products
//! with constants that leave several numbers alone leave all alone (so the table must have no row of
//! zeros or ones itself, and the last operator must be no arithmetic), and a minimum or a choice counts
//! only if the indices need it ([`buckets`]).

use std::collections::{BTreeSet, HashMap};

use super::buckets;
use super::context::{Context, Target};
use super::layouts::fit_shape;
use crate::graph::record::LOOKUP;
use crate::graph::unfold::{Array, Expression};
use crate::space::matching::proof::Telling;

/// Operators that change all numbers or none.
const ARITHMETIC: [&str; 6] = ["add", "div", "mul", "neg", "rsub", "sub"];

/// Numbers that a lookup needs at least, so that equality is no chance.
const TELLING: usize = 4;

/// What the exporter's record tells about a lookup.
pub enum Recorded<'a> {
    /// Every operator on the way, as often as it was applied, and whether a part of the table may have
    /// been taken otherwise than by the lookup.
    Operators(&'a [String], bool),
    /// Nothing.
    Nothing,
}

/// The rows of one table that a tensor is, in another layout; `None` if it is none, or may be
/// something else.
pub fn gathered(
    context: &Context<'_>,
    name: &str,
    target: &Target,
    recorded: &Recorded<'_>,
) -> Option<Expression> {
    let [count, width] = *context.shape(name)? else {
        return None;
    };
    let table = context.raw(name)?;
    let mut found = axes(&target.array.shape, width).into_iter();
    let mut fitting = found.by_ref().filter_map(|axis| {
        let (order, turned) = last(&target.array, axis)?;
        Some((order, indices(&table, &turned)?, turned.shape))
    });
    let (order, indices, moved) = fitting.next()?;
    if fitting.next().is_some() {
        return None;
    }
    let sound = match recorded {
        Recorded::Operators(operators, takes_rows) => {
            let hides = table.is_trivial() || (*takes_rows && has_idle_row(&table, width));
            !hides && is_sound(operators, &indices, count, &moved)
        }
        // Of a magnitude or a positive part there is no trace.
        Recorded::Nothing => has_both_signs(&target.array),
    };
    let expression = laid_out(name, &indices, &order, &moved, width);
    (sound && target.fits(context, &expression)).then_some(expression)
}

/// The axes along which a row may lie: those of its width, of several axes of size 1 the last.
fn axes(shape: &[usize], width: usize) -> Vec<usize> {
    let all = (0..shape.len()).filter(|&axis| shape[axis] == width);
    let all: Vec<usize> = all.collect();
    match (width, all.last()) {
        (1, Some(&last)) => vec![last],
        _ => all,
    }
}

/// A tensor with one axis moved to the end, and the order of its axes there.
fn last(array: &Array, axis: usize) -> Option<(Vec<usize>, Array)> {
    let rest = (0..array.shape.len()).filter(|&it| it != axis);
    let order: Vec<usize> = rest.chain([axis]).collect();
    let turned = array.transpose(&order)?;
    Some((order, turned))
}

/// The table's row behind each row of a tensor. `None` if a row is not in the table, is there twice,
/// or has equal elements, which masks and paddings have, too.
fn indices(table: &Array, turned: &Array) -> Option<Vec<usize>> {
    let width = *table.shape.last()?;
    // Zeros of both signs are equal.
    let bits = |row: &[f64]| row.iter().map(|x| (x + 0.0).to_bits()).collect::<Vec<_>>();
    let mut places: HashMap<Vec<u64>, Option<usize>> = HashMap::new();
    for (index, row) in table.data.chunks(width.max(1)).enumerate() {
        let place = places.entry(bits(row));
        place.and_modify(|it| *it = None).or_insert(Some(index));
    }
    let rows = turned.data.chunks(width.max(1)).map(|row| {
        let index = places.get(&bits(row)).copied().flatten();
        index.filter(|_| !is_trivial(row))
    });
    let found = rows.collect::<Option<Vec<usize>>>()?;
    let distinct: BTreeSet<usize> = found.iter().copied().collect();
    (distinct.len() * width >= TELLING).then_some(found)
}

/// Whether a row has nothing to tell: equal elements, or 0, 1 and −1 alone.
fn is_trivial(row: &[f64]) -> bool {
    let is_uniform = row.len() > 1 && row.windows(2).all(|pair| pair[0] == pair[1]);
    is_uniform || row.iter().all(|x| [0.0, 1.0].contains(&x.abs()))
}

/// Whether a table has a row of zeros or ones, which leaves others alone in a sum or a product with it.
fn has_idle_row(table: &Array, width: usize) -> bool {
    let is = |row: &[f64], of: f64| row.iter().all(|x| x.abs() == of);
    let mut rows = table.data.chunks(width.max(1));
    rows.any(|row| is(row, 0.0) || is(row, 1.0))
}

/// Whether the recorded operators look the rows up and change nothing else.
fn is_sound(operators: &[String], indices: &[usize], count: usize, moved: &[usize]) -> bool {
    let is = |all: &[&str], it: &String| all.contains(&it.as_str());
    let others = operators.iter();
    let others = others.filter(|it| !is(&LOOKUP, it) && !is(&ARITHMETIC, it));
    let others: Vec<&str> = others.map(String::as_str).collect();
    let lookups = operators.iter().filter(|it| is(&LOOKUP, it)).count();
    lookups == 1 && (others.is_empty() || buckets::explain(&others, indices, count, moved))
}

fn has_both_signs(array: &Array) -> bool {
    array.data.iter().any(|x| *x > 0.0) && array.data.iter().any(|x| *x < 0.0)
}

/// The rows, in the shape and order of axes of the tensor; `moved` is its shape with the row last.
fn laid_out(
    name: &str,
    indices: &[usize],
    order: &[usize],
    moved: &[usize],
    width: usize,
) -> Expression {
    let table = Expression::raw(name);
    let is_range = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let rows = match (indices.first(), indices.last()) {
        (Some(&first), Some(&end)) if is_range => table.slice(0, first, end + 1),
        _ => table.rows(indices),
    };
    let rows = fit_shape(rows, &[indices.len(), width], moved);
    if order.is_sorted() {
        return rows;
    }
    let mut back = vec![0; order.len()];
    for (to, &from) in order.iter().enumerate() {
        back[from] = to;
    }
    rows.transpose(&back)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Array {
        let data = (0..12).map(|it| f64::from(it) - 5.5);
        Array::exact(vec![6, 2], data.collect())
    }

    #[test]
    fn each_row_is_one_row_of_the_table() {
        let picked = table().rows(&[3, 0, 3]).unwrap();
        assert_eq!(indices(&table(), &picked), Some(vec![3, 0, 3]));
        let mut other = picked.clone();
        other.data[1] += 1e-9;
        assert_eq!(indices(&table(), &other), None);
        // Which of two equal rows it is cannot be told.
        let mut doubled = table();
        doubled.data[6..8].copy_from_slice(&[-5.5, -4.5]);
        assert_eq!(indices(&doubled, &picked), None);
        // A row of equal elements may be a padding.
        let mut padded = table();
        padded.data[..2].copy_from_slice(&[0.0, 0.0]);
        let picked = padded.rows(&[3, 0]).unwrap();
        assert_eq!(indices(&padded, &picked), None);
        // One row of two numbers is little evidence.
        assert_eq!(indices(&table(), &table().rows(&[2, 2]).unwrap()), None);
    }

    #[test]
    fn operators_that_may_change_some_numbers_prove_nothing() {
        let operators = |all: &[&str]| all.iter().map(|it| (*it).to_string()).collect::<Vec<_>>();
        let sound = |all: &[&str]| is_sound(&operators(all), &[0, 1, 2], 6, &[3, 2]);
        assert!(sound(&["embedding", "add", "add"]));
        assert!(!sound(&["add"]));
        assert!(!sound(&["embedding", "abs"]));
        assert!(!sound(&["embedding", "clamp"]));
        assert!(!sound(&["embedding", "embedding"]));
    }
}
