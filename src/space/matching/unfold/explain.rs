//! Finds the expression of one tensor of the graph.

use super::computed::{self, Pairing};
use super::context::{Context, Target};
use super::evidence::{Evidence, JOINING, MEASURES, is_known};
use super::gathered::{Recorded, gathered};
use super::{gates, joined, layouts, weights};
use crate::graph::network::{Place, Use};
use crate::graph::unfold::{Expression, Function};
use crate::space::matching::named::hidden;
use crate::space::matching::names::module;
use crate::space::matching::proof::Telling;

/// Functions that normalized weights are made of.
const INNER: [Function; 3] = [Function::Sqrt, Function::Neg, Function::Reciprocal];

/// An explanation, and the name of what it is if that has one.
#[derive(Clone)]
pub struct Explanation {
    /// How the tensor is computed.
    pub expression: Expression,
    /// What it is: "weight norm".
    pub kind: Option<&'static str>,
}

impl From<Expression> for Explanation {
    fn from(expression: Expression) -> Self {
        Self {
            expression,
            kind: None,
        }
    }
}

/// The expression of the tensor at a place, if exactly one is found.
pub fn explain(context: &Context<'_>, r#use: &Use, target: &Target) -> Option<Explanation> {
    let network = context.names.origin.network;
    let node = &network.nodes()[r#use.place.node];
    if let Some(found) = gates::of_node(context, node, r#use.place.slot, target) {
        return Some(Explanation {
            expression: found,
            kind: Some("gates reordered"),
        });
    }
    let evidence = Evidence::of(context, r#use);
    let mut made_of = evidence.floats(context);
    if made_of.any(|it| hidden(context.names.origin, &r#use.initializer, it).is_some()) {
        return None;
    }
    let found = match evidence.is_beyond() || evidence.mixes_transient() {
        true => looked_up(context, r#use, target, &evidence).map(Explanation::from),
        false => computed_from(context, r#use, target, &evidence),
    };
    found.filter(|found| !evidence.has_more(context, &found.expression))
}

fn computed_from(
    context: &Context<'_>,
    r#use: &Use,
    target: &Target,
    evidence: &Evidence<'_>,
) -> Option<Explanation> {
    rearranged(context, r#use.place, target, evidence)
        .or_else(|| looked_up(context, r#use, target, evidence))
        .map(Explanation::from)
        .or_else(|| of_functions(context, target, evidence).map(Explanation::from))
        .or_else(|| {
            let names = &evidence.names;
            let inner = |it: &Function| INNER.contains(it);
            let allowed = evidence.functions().iter().all(inner) && evidence.has(&MEASURES);
            let unrecorded = evidence.operators.is_none();
            let found = (allowed || unrecorded)
                .then(|| weights::normalized(context, names, target, !unrecorded))
                .flatten();
            found.map(|(expression, kind)| Explanation {
                expression,
                kind: Some(kind),
            })
        })
        .or_else(|| of_constants(context, target, evidence).map(Explanation::from))
}

/// Rows of a table. With a record, it must be the only parameter there; without, a table of the
/// node's module, or of one inside, that nothing else uses.
fn looked_up(
    context: &Context<'_>,
    r#use: &Use,
    target: &Target,
    evidence: &Evidence<'_>,
) -> Option<Expression> {
    let record = &context.names.origin.record;
    if evidence.operators.is_some() {
        if !record.ends_laid_out(&r#use.initializer) {
            return None;
        }
        let is_float = |name: &&String| {
            let tensor = context.tensor(name);
            tensor.is_none_or(|tensor| tensor.dtype.is_float())
        };
        let parameters = record.parameters(&r#use.initializer);
        let table = only(parameters.iter().filter(is_float).collect())?;
        let operators = record.operators(&r#use.initializer);
        let parts = ["select", "slice", "slice_copy"];
        let takes_rows = record.times(&r#use.initializer, &parts) > 0;
        let recorded = Recorded::Operators(&operators, takes_rows);
        return gathered(context, table, target, &recorded);
    }
    if record.is_marked() {
        return None;
    }
    let path = context
        .names
        .origin
        .network
        .module_path(r#use.place.node)
        .filter(|path| !path.is_empty())?;
    let inside = |name: &&&str| {
        name.strip_prefix(&path)
            .is_some_and(|it| it.starts_with('.'))
    };
    let tables = context.unused.iter().filter(inside);
    let found = tables.filter_map(|name| gathered(context, name, target, &Recorded::Nothing));
    only(found.collect())
}

/// Layouts, ranges, and tensors put together.
fn rearranged(
    context: &Context<'_>,
    place: Place,
    target: &Target,
    evidence: &Evidence<'_>,
) -> Option<Expression> {
    if !evidence.functions().is_empty() {
        return None;
    }
    if evidence.is_empty() {
        let telling = !target.array.is_uniform();
        // Equal elements prove nothing. Without a record, the tensor must be one of the module that
        // nothing else reads: ones may be a constant, and no variance of an untrained batch norm.
        let counts = |name: &&&str| {
            telling || evidence.operators.is_some() || context.unused.contains(**name)
        };
        for (names, is_near) in [(&evidence.names, true), (&evidence.others, false)] {
            if !(telling || is_near) {
                continue;
            }
            let layouts = names
                .iter()
                .filter(counts)
                .filter_map(|it| layouts::layout(context, it, target));
            // A tensor that the exporter left as it is has its name; a square one that equals its
            // transpose may have been transposed.
            let is_open = telling && !target.array.is_symmetric();
            let layouts = layouts.filter(|it| is_open || !it.is_raw());
            let mut fitting: Vec<Expression> = layouts.collect();
            if fitting.is_empty() && telling {
                let ranges = names.iter();
                fitting.extend(ranges.filter_map(|it| layouts::range(context, it, target)));
            }
            match fitting.len() {
                0 => {}
                1 => return fitting.pop(),
                // One of these is meant, and none elsewhere.
                _ => break,
            }
        }
    }
    if !evidence.has(&["cat", "stack"]) || !evidence.only_has(&JOINING) {
        return None;
    }
    beside(context, place, target).or_else(|| {
        let all = evidence.names.iter().chain(&evidence.others);
        let all: Vec<&str> = all.copied().collect();
        joined::joined(context, &all, target)
    })
}

/// The biases of the modules whose weights went into the product that this tensor is added to.
fn beside(context: &Context<'_>, place: Place, target: &Target) -> Option<Expression> {
    let network = context.names.origin.network;
    let node = &network.nodes()[place.node];
    let mut producers = node.input.iter().filter_map(|it| network.producer(it));
    let modules = match node.op_type() {
        "Add" => producers.find_map(|node| context.modules.get(&node))?,
        _ => context.modules.get(&place.node)?,
    };
    let biases = modules.iter().map(|module| {
        let name = format!("{module}.bias");
        context.tensor(&name).map(|_| Expression::raw(&name))
    });
    let biases = biases.collect::<Option<Vec<_>>>()?;
    let joined = Expression::Concat(biases, target.array.shape.len().checked_sub(1)?);
    (modules.len() > 1 && target.fits(context, &joined)).then_some(joined)
}

/// The only one of several candidates.
fn only<T>(found: Vec<T>) -> Option<T> {
    let mut found = found.into_iter();
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn of_functions(
    context: &Context<'_>,
    target: &Target,
    evidence: &Evidence<'_>,
) -> Option<Expression> {
    let arithmetic = |operators: &[String]| {
        let mut others = operators.iter();
        others.any(|it| is_known(it))
    };
    if evidence.operators.as_deref().is_some_and(arithmetic) {
        return None;
    }
    let recorded = evidence.operators.as_deref();
    if recorded.is_some() && evidence.names.len() != 1 {
        return None;
    }
    let names = evidence.names.iter();
    let found = names.filter_map(|it| computed::functions(context, it, target, recorded));
    only(found.collect())
}

/// Constants times and plus a tensor; sums and products of two.
fn of_constants(
    context: &Context<'_>,
    target: &Target,
    evidence: &Evidence<'_>,
) -> Option<Expression> {
    let simple = ["add", "sub", "rsub", "mul", "div"];
    let recorded = evidence.operators.iter().flatten();
    let arithmetic = recorded.into_iter().all(|it| simple.contains(&it.as_str()));
    if !arithmetic || evidence.operators.as_ref().is_some_and(Vec::is_empty) {
        return None;
    }
    // An exporter that keeps a record leaves none only where it fused nodes: with an untrained
    // batch norm, a weight is a constant times the parameter by chance.
    if evidence.operators.is_none() && context.names.origin.record.is_marked() {
        return None;
    }
    let names = &evidence.names;
    if evidence.operators.is_none() || names.len() == 1 {
        let found = names
            .iter()
            .filter_map(|it| computed::affine(context, it, target));
        if let Some(found) = only(found.collect()) {
            return Some(found);
        }
    }
    let pairs: Vec<[&str; 2]> = match (names.as_slice(), &evidence.operators) {
        ([first, second], _) => vec![[first, second]],
        (_, None) => pairs(context, names, &evidence.others, target),
        _ => Vec::new(),
    };
    let both = [(Pairing::Sum, "add"), (Pairing::Product, "mul")];
    // a·(1 + b) is a + b where b is 0, and a·b·b is a·b where b is 1: the record must have nothing else.
    let is_whole = |operator: &str| match &evidence.operators {
        Some(recorded) => *recorded == [operator],
        None => !target.array.is_uniform(),
    };
    let both = both.into_iter().filter(|(_, operator)| is_whole(operator));
    let both: Vec<Pairing> = both.map(|(pairing, _)| pairing).collect();
    let found = pairs.iter().flat_map(|pair| {
        let of = |pairing: &Pairing| computed::pair(context, *pair, *pairing, target);
        both.iter().filter_map(of).collect::<Vec<_>>()
    });
    only(found.collect())
}

/// Pairs of tensors without a record: of one module, both of the target's size.
fn pairs<'a>(
    context: &Context<'_>,
    names: &[&'a str],
    others: &[&'a str],
    target: &Target,
) -> Vec<[&'a str; 2]> {
    let all: Vec<&str> = names.iter().chain(others).copied().collect();
    let fits = |name: &str| {
        let tensor = context.tensor(name);
        tensor.is_some_and(|it| it.len() == target.array.len())
    };
    let all: Vec<&str> = all.into_iter().filter(|name| fits(name)).collect();
    let mut pairs = Vec::new();
    for (index, first) in all.iter().enumerate() {
        let near = all[index + 1..]
            .iter()
            .filter(|it| module(it) == module(first));
        pairs.extend(near.map(|second| [*first, *second]));
    }
    pairs
}

/// The nearest tensor of the state dict, for a refusal.
pub fn nearest(context: &Context<'_>, r#use: &Use, target: &Target) -> String {
    let evidence = Evidence::of(context, r#use);
    let names = evidence.names.iter().chain(&evidence.others);
    let measured = names.flat_map(|name| {
        let forms = layouts::shaped(context, name, &target.array.shape);
        let distance = forms.into_iter().filter_map(|form| {
            let distance = context.value(&form)?.relative_distance(&target.array);
            Some((distance, form.formula()))
        });
        distance.collect::<Vec<_>>()
    });
    let least = measured.min_by(|a, b| a.0.total_cmp(&b.0));
    let (name, shape) = (&r#use.initializer, &target.array.shape);
    match least {
        Some((distance, form)) if distance.is_finite() => format!(
            "`{name}` {shape:?} is nearest to {form} of θ0's state dict (relative distance \
             {distance:.2e})"
        ),
        _ => format!("`{name}` {shape:?}: no tensor of θ0's state dict is like it"),
    }
}
