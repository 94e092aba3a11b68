//! Explains the tensors of a folded graph by θ0's state dict, and unfolds the graph.
//!
//! Exporters compute tensors from the parameters and store the results in the graph: a transposed
//! weight, a batch norm folded into a convolution, an exponential. An average of such results is
//! not the result for the average. θ0's own state dict tells how each was computed: candidates are
//! found by names, by the exporter's record and by module, and one is accepted if its value at θ0
//! is the stored tensor, up to the rounding of float32 arithmetic ([`crate::graph::unfold`]). Then
//! the graph is rewritten: its initializers become the state dict's tensors, and nodes compute
//! what was folded, for each mix anew.
//!
//! What fits in two ways is not explained, unless names or the record decide. Nothing is rewritten
//! that the checkpoints' tensors can stand for as they are.

mod biases;
mod buckets;
mod computed;
mod context;
mod evidence;
mod explain;
mod gates;
mod gathered;
mod joined;
mod layouts;
mod norms;
mod raws;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use self::context::{Context, Target};
use self::explain::Explanation;
use super::matches::is_left;
use super::named::{computation_between, is_of_state, reads_foreign_constant};
use super::names::{Names, module};
use super::options::Options;
use super::origin::Origin;
use super::proof::Telling;
use super::rules;
use super::tables;
use super::unproven::is_unproven;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::tensor::Tensor;
use crate::error::Result;
use crate::graph::network::{Network, Place, Use};
use crate::graph::unfold::Expression;
use crate::graph::unfold::rewrite::{self, Plan, Replacement};

/// What was found out about a graph.
#[derive(Debug, Default)]
pub struct Unfolded {
    /// The unfolded model; `None` if nothing is to be changed, or can be.
    pub model: Option<Model>,
    /// For each tensor that is computed now, its name in the file and how it is computed.
    pub explained: BTreeMap<String, String>,
    /// Tensors without an explanation, each with the nearest candidate.
    pub unexplained: Vec<String>,
    /// Those of the explained tensors for which only equal values at θ0 speak.
    pub unproven: BTreeSet<String>,
}

/// Explains the tensors of a model by θ0's state dict and unfolds it.
///
/// # Errors
/// When the weights have no names of their own, or two prefixes of their names fit equally well.
pub fn unfold(model: &Model, weights: &Checkpoint, options: &Options) -> Result<Unfolded> {
    let network = Network::of(model);
    let origin = Origin::new(&network, Some(weights))?;
    let Some(tensors) = origin.weights else {
        return Ok(Unfolded::default());
    };
    let names = Names::new(&origin, weights, tensors, options)?;
    let matches = rules::find(&names);
    let mut context = Context::new(&names, &matches);
    classify(&mut context, options);
    if context.open.is_empty() && context.unused.is_empty() {
        return Ok(Unfolded::default());
    }
    Ok(search(&mut context))
}

/// Sorts the places into explained and open ones, and the state dict into used and unused.
fn classify(context: &mut Context<'_>, options: &Options) {
    let names = context.names;
    let float = names.tensors.iter().filter(|(name, (stored, tensor))| {
        let ignored = options.ignores(name) || options.ignores(stored);
        tensor.dtype.is_float() && !tensor.is_empty() && !ignored
    });
    context.unused = float.map(|(name, _)| name.as_str()).collect();
    for r#use in &names.origin.network.uses {
        if is_left(r#use, std::slice::from_ref(context.matches), options) {
            continue;
        }
        match is_explained(context, r#use) {
            true => {
                let name = context.matched(r#use.place);
                context.take(name);
            }
            false => {
                context.open.insert(r#use.place);
            }
        }
    }
}

/// Whether a place's tensor is a checkpoint's as it is, or a constant.
fn is_explained(context: &Context<'_>, r#use: &Use) -> bool {
    let (names, origin) = (context.names, context.names.origin);
    let Some(found) = context.matches.get(&r#use.place) else {
        let is_constant = origin.record.is_constant(&r#use.initializer);
        let is_table = || tables::by_itself(origin, r#use).is_some();
        return (is_constant && !is_of_state(names, r#use)) || is_table();
    };
    let (Some(tensor), Some(weight)) = (
        origin.network.tensor(&r#use.initializer),
        context
            .matched(r#use.place)
            .and_then(|it| context.tensor(it)),
    ) else {
        return false;
    };
    let holds = origin.holds(tensor, weight, found.source.transposed);
    let turned = found.source.transposed;
    let computed = computation_between(origin, &r#use.initializer, r#use.place, turned, || holds);
    holds && computed.is_none() && !reads_foreign_constant(names, r#use, found)
}

/// Searches for all explanations.
fn search(context: &mut Context<'_>) -> Unfolded {
    let mut plan = Plan::default();
    let mut unfolded = Unfolded::default();
    let (norms, unclear) = norms::find(context);
    for norm in &norms {
        let weight = norm.weight.formula();
        let words = format!("{weight} × {} (batch norm unfolded)", norm.module);
        unfolded
            .explained
            .insert(initializer(context, norm.node), words);
    }
    plan.norms = norms;
    explain_rest(context, &mut plan, &mut unfolded);
    plan.biases = biases::zeros(context, &plan);
    let network = context.names.origin.network;
    for (node, _, name) in &plan.biases {
        let words = format!("{name} (left out because it was zero)");
        let at = format!("bias of {}", network.nodes()[*node].name());
        unfolded.explained.insert(at, words);
    }
    unfolded.unexplained.splice(0..0, unclear);
    unfolded.unexplained.dedup();
    let types = raws::types(network, &plan);
    let two = raws::of_two_types(&types);
    let is_clear = types.values().all(|all| all.len() == 1);
    let is_possible = !plan.is_empty() && is_clear && !raws::is_rounded(&plan, &types);
    let model =
        is_possible.then(|| rewrite::apply(network.model, &plan, &raws::of(context, &types)));
    unfolded.unexplained.extend(two);
    unfolded.model = model.flatten();
    if unfolded.model.is_none() {
        unfolded.explained.clear();
        unfolded.unproven.clear();
    }
    unfolded
}

/// Explains what is open besides batch norms, use by use.
fn explain_rest(context: &mut Context<'_>, plan: &mut Plan, unfolded: &mut Unfolded) {
    let mut known: BTreeMap<(String, Option<String>), Explanation> = BTreeMap::new();
    let network = context.names.origin.network;
    for r#use in &network.uses {
        if !context.open.contains(&r#use.place) {
            continue;
        }
        let Some(tensor) = network.tensor(&r#use.initializer) else {
            continue;
        };
        let key = (
            r#use.initializer.clone(),
            network.module_path(r#use.place.node),
        );
        let found = match known.get(&key) {
            Some(explanation) => Some(explanation.clone()),
            None => of_use(context, r#use, tensor),
        };
        // σ(p) and 1 − σ(p) are equal at p = 0, and exporters merge what is equal.
        let may_be_two = tensor.is_uniform() && context.names.is_shared(&r#use.initializer);
        let is_sure = |it: &Expression| it.is_layout() || it.names().is_empty() || !may_be_two;
        let found = found.filter(|it| is_sure(&it.expression));
        let Some(Explanation { expression, kind }) = found else {
            let target = Target::of(tensor);
            let nearest = explain::nearest(context, r#use, &target);
            unfolded.unexplained.push(nearest);
            continue;
        };
        note(context, r#use, &expression);
        if kind.is_none() && is_unproven(context.names.origin, &r#use.initializer, r#use.place) {
            unfolded.unproven.insert(format!("`{}`", r#use.initializer));
        }
        if key.1.is_some() {
            let expression = expression.clone();
            known.insert(key, Explanation { expression, kind });
        }
        let words = match kind {
            Some(kind) => format!("{} ({kind})", expression.names().join(", ")),
            None => expression.formula(),
        };
        let told = unfolded.explained.entry(r#use.initializer.clone());
        told.or_insert(words);
        plan.replacements.push(Replacement {
            places: vec![r#use.place],
            expression,
        });
    }
}

fn initializer(context: &Context<'_>, node: usize) -> String {
    let place = Place { node, slot: 1 };
    let r#use = context.use_at(place);
    r#use.map_or_else(String::new, |it| it.initializer.clone())
}

/// The explanation of the tensor that an open place reads.
fn of_use(context: &Context<'_>, r#use: &Use, tensor: &Tensor) -> Option<Explanation> {
    if let Some(constant) = biases::foreign(context, r#use, tensor) {
        return Some(constant.into());
    }
    let target = Target::of(tensor);
    explain::explain(context, r#use, &target)
}

/// Takes an expression's tensors as used, and remembers whose weights went into a product, in their
/// order. Of weights that were scaled on the way it is not known whether the biases were, too.
fn note(context: &mut Context<'_>, r#use: &Use, expression: &Expression) {
    let names = expression.names();
    let op_type = context.names.origin.network.nodes()[r#use.place.node].op_type();
    if ["MatMul", "Gemm"].contains(&op_type) && r#use.place.slot == 1 && expression.is_layout() {
        let mut modules: Vec<String> = Vec::new();
        for name in &names {
            let own = module(name).to_string();
            if !modules.contains(&own) {
                modules.push(own);
            }
        }
        context.modules.insert(r#use.place.node, modules);
    }
    context.take(names);
}
