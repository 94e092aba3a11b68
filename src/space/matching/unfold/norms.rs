//! Batch norms that were folded into convolutions and Gemms: w·γ/√(σ² + ε), and
//! (b − μ)·γ/√(σ² + ε) + β.
//!
//! They are put back as nodes behind the convolution, as in an export that was not optimized.

use super::context::{Context, Target};
use super::weights::EPSILONS;
use crate::checkpoint::onnx::proto::NodeProto;
use crate::graph::editor::is_standard;
use crate::graph::network::Place;
use crate::graph::unfold::rewrite::UnfoldedNorm;
use crate::graph::unfold::{Array, Expression, Function};
use crate::space::matching::names::module;
use crate::space::matching::proof::Telling;

/// A batch norm of the state dict.
#[derive(Debug, Clone)]
struct Norm {
    module: String,
    affine: Option<[String; 2]>,
    statistics: [String; 2],
    channels: usize,
}

/// Finds the batch norm that was folded into each node, and takes its tensors as used.
pub fn find(context: &mut Context<'_>) -> (Vec<UnfoldedNorm>, Vec<String>) {
    let mut found: Vec<UnfoldedNorm> = Vec::new();
    let mut unclear = Vec::new();
    // What is certain leaves fewer candidates for the rest.
    loop {
        let before = found.len();
        unclear.clear();
        for index in 0..context.names.origin.network.nodes().len() {
            match of_node(context, index, &found) {
                Some(Ok(norm)) => {
                    take(context, &norm);
                    found.push(norm);
                }
                Some(Err(problem)) => unclear.push(problem),
                None => {}
            }
        }
        if found.len() == before {
            return (found, unclear);
        }
    }
}

/// Batch norms whose statistics nothing uses yet.
fn unused(context: &Context<'_>) -> Vec<Norm> {
    let means = context.unused.iter();
    let modules = means.filter_map(|name| name.strip_suffix("running_mean"));
    let norms = modules.filter_map(|prefix| {
        let name = |leaf: &str| format!("{prefix}{leaf}");
        let variance = name("running_var");
        let affine = [name("weight"), name("bias")];
        let has = |name: &String| context.unused.contains(name.as_str());
        has(&variance).then(|| Norm {
            module: prefix.trim_end_matches('.').to_string(),
            channels: context.tensor(&variance).map_or(0, |it| it.len()),
            // Used elsewhere or not: a batch norm that has γ and β has them here.
            affine: affine
                .iter()
                .all(|name| context.tensor(name).is_some())
                .then_some(affine),
            statistics: [name("running_mean"), variance],
        })
    });
    norms.collect()
}

/// Folded nodes and the axis of their weight's output channels.
fn channel_axis(node: &NodeProto) -> Option<usize> {
    let integer = |name: &str| {
        let mut attributes = node.attribute.iter();
        attributes.find(|it| it.name() == name).map(|it| it.i())
    };
    match node.op_type() {
        // A custom operator of the same name may have other inputs and layouts.
        _ if !is_standard(node.domain()) => None,
        "Conv" => Some(0),
        "ConvTranspose" => (integer("group").unwrap_or(1) == 1).then_some(1),
        "Gemm" => Some(usize::from(integer("transB").unwrap_or(0) == 0)),
        _ => None,
    }
}

type Found = Option<Result<UnfoldedNorm, String>>;

fn of_node(context: &Context<'_>, index: usize, others: &[UnfoldedNorm]) -> Found {
    let network = context.names.origin.network;
    let node = &network.nodes()[index];
    let axis = channel_axis(node)?;
    let place = Place {
        node: index,
        slot: 1,
    };
    if !context.open.contains(&place) || others.iter().any(|it| it.node == index) {
        return None;
    }
    let initializer = &context.use_at(place)?.initializer;
    let target = Target::of(network.tensor(initializer)?);
    let channels = *target.array.shape.get(axis)?;
    let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
        None => Target {
            array: Array::filled(&[channels], 0.0),
            unit: target.unit,
        },
        Some(name) => Target::of(network.tensor(network.initializer_behind(name)?)?),
    };
    let folded = Folded {
        context,
        weight: target,
        bias,
        axis,
        usual: others.last().map(|it| it.epsilon),
    };
    let norms = unused(context);
    let norms: Vec<&Norm> = norms.iter().filter(|it| it.channels == channels).collect();
    let path = network.module_path(index);
    // The exporter's record names the batch norm; then it is no other.
    let recorded: Vec<&Norm> = norms
        .iter()
        .filter(|it| path.as_deref() == Some(&it.module))
        .copied()
        .collect();
    let norms = if recorded.is_empty() { norms } else { recorded };
    let named: Vec<&str> = context.matched(place).into_iter().collect();
    let mut all = folded.with(&named, &norms);
    if all.is_empty() {
        let names: Vec<&str> = context.unused.iter().copied().collect();
        all = folded.with(&names, &norms);
    }
    choose(context, index, initializer, &all, &norms)
}

/// The one of several fitting batch norms that names speak for.
fn choose(
    context: &Context<'_>,
    index: usize,
    initializer: &str,
    all: &[UnfoldedNorm],
    norms: &[&Norm],
) -> Found {
    let score = |weight: &Expression, norm: &str| {
        let weight = weight.names().first().copied().unwrap_or_default();
        adjacency(module(weight), norm)
    };
    let best = all.iter().map(|it| score(&it.weight, &it.module)).max()?;
    let mut top = all
        .iter()
        .filter(|it| score(&it.weight, &it.module) == best);
    let first = top.next()?.clone();
    // An untrained batch norm fits behind any convolution: then names must not speak for another.
    let nearer = norms
        .iter()
        .find(|it| score(&first.weight, &it.module) > best);
    if let Some(nearer) = nearer.filter(|_| is_untrained(context, &first)) {
        return Some(Err(format!(
            "`{initializer}` does not hold the batch norm `{}`, as its name says",
            nearer.module
        )));
    }
    Some(match top.next() {
        None => Ok(UnfoldedNorm {
            node: index,
            ..first
        }),
        Some(second) => Err(format!(
            "`{initializer}` may hold the batch norm `{}` or `{}`: at θ0 both give its values",
            first.module, second.module
        )),
    })
}

/// Whether all channels of a batch norm are alike, so that its values tell little.
fn is_untrained(context: &Context<'_>, norm: &UnfoldedNorm) -> bool {
    let mut own = norm.affine.iter().flatten().chain(&norm.statistics);
    own.all(|name| context.raw(name).is_none_or(|it| it.is_uniform()))
}

/// The folded tensors of a node.
struct Folded<'c, 'a> {
    context: &'c Context<'a>,
    weight: Target,
    bias: Target,
    axis: usize,
    /// The ε of another batch norm of the network.
    usual: Option<f64>,
}

impl Folded<'_, '_> {
    /// All pairs of a weight and a batch norm that give the folded tensors.
    fn with(&self, names: &[&str], norms: &[&Norm]) -> Vec<UnfoldedNorm> {
        let weights = names.iter().filter_map(|name| self.oriented(name));
        let pairs = weights.flat_map(|weight| {
            let one = move |norm: &&Norm| self.pair(&weight, norm);
            norms.iter().filter_map(one).collect::<Vec<_>>()
        });
        pairs.collect()
    }

    /// A weight of the state dict in the orientation of the graph.
    fn oriented(&self, name: &str) -> Option<Expression> {
        let (own, shape) = (self.context.shape(name)?, &self.weight.array.shape);
        let raw = Expression::raw(name);
        if own.len() == 2 && self.axis == 1 && own[0] == shape[1] && own[1] == shape[0] {
            return Some(raw.transpose(&[1, 0]));
        }
        (own == shape.as_slice()).then_some(raw)
    }

    fn pair(&self, weight: &Expression, norm: &Norm) -> Option<UnfoldedNorm> {
        let first = weight
            .names()
            .first()
            .map(|name| module(name).to_string())?;
        let own = match first.as_str() {
            "" => "bias".to_string(),
            module => format!("{module}.bias"),
        };
        let bias = self.context.tensor(&own).map(|_| own);
        // Nothing shows in zeros (γ = 0 at θ0): ε is that of another batch norm.
        if self.weight.array.is_uniform() && self.usual.is_none() {
            return None;
        }
        let solved = self.solved(weight, norm);
        let usual = self.usual.into_iter().chain(EPSILONS).chain(solved);
        let fits = |epsilon: &f64| self.fits(weight, bias.as_deref(), norm, *epsilon);
        let epsilon = usual.into_iter().find(fits)?;
        Some(UnfoldedNorm {
            node: 0,
            weight: weight.clone(),
            bias,
            module: norm.module.clone(),
            channels: norm.channels,
            affine: norm.affine.clone(),
            statistics: norm.statistics.clone(),
            epsilon,
        })
    }

    /// γ/√(σ² + ε).
    fn scale(norm: &Norm, epsilon: f64) -> Expression {
        let variance = Expression::raw(&norm.statistics[1]);
        let deviation = variance.shifted(epsilon).of(Function::Sqrt);
        match &norm.affine {
            Some([gain, _]) => Expression::raw(gain).over(deviation),
            None => deviation.of(Function::Reciprocal),
        }
    }

    fn fits(&self, weight: &Expression, bias: Option<&str>, norm: &Norm, epsilon: f64) -> bool {
        let scale = Self::scale(norm, epsilon);
        let mean = Expression::raw(&norm.statistics[0]).of(Function::Neg);
        let centred = match bias {
            Some(bias) => Expression::raw(bias).plus(mean),
            None => mean,
        };
        let shifted = match &norm.affine {
            Some([_, shift]) => centred.times(scale.clone()).plus(Expression::raw(shift)),
            None => centred.times(scale.clone()),
        };
        // A vector is compared much faster than a weight, and most pairs fail here.
        if !self.bias.fits(self.context, &shifted) {
            return false;
        }
        let mut shape = vec![1; self.weight.array.shape.len()];
        shape[self.axis] = norm.channels;
        let folded = weight.clone().times(scale.reshape(&shape));
        self.weight.fits(self.context, &folded)
    }

    /// ε from the channel of the smallest variance, where it shows most.
    fn solved(&self, weight: &Expression, norm: &Norm) -> Option<f64> {
        let raw = self.context.value(weight)?;
        // Equal variances do not tell ε from a part of themselves.
        let variance = self.context.raw(&norm.statistics[1]);
        let variance = variance.filter(|it| !it.is_uniform())?;
        let gain = norm
            .affine
            .as_ref()
            .and_then(|[gain, _]| self.context.raw(gain));
        let order = variance.data.iter().enumerate();
        let (channel, least) = order.min_by(|a, b| a.1.total_cmp(b.1))?;
        let own = raw.slice(self.axis, channel, channel + 1)?;
        let folded = self.weight.array.slice(self.axis, channel, channel + 1)?;
        let pairs = own.data.iter().zip(&folded.data);
        let product: f64 = pairs.map(|(x, y)| x * y).sum();
        let square: f64 = own.data.iter().map(|x| x * x).sum();
        let gain = match gain {
            Some(gain) => *gain.data.get(channel)?,
            None => 1.0,
        };
        let root = gain * square / product;
        let epsilon = root * root - least;
        // Such constants are short numbers.
        let short = format!("{epsilon:.1e}").parse().unwrap_or(epsilon);
        (epsilon > 0.0 && epsilon < 1.0).then_some(short)
    }
}

/// How much the names of a convolution and a batch norm speak for each other.
fn adjacency(convolution: &str, norm: &str) -> usize {
    let split = |name: &str| {
        let (parent, leaf) = name.rsplit_once('.').unwrap_or(("", name));
        (parent.to_string(), leaf.to_string())
    };
    let ((parent, leaf), (other_parent, other_leaf)) = (split(convolution), split(norm));
    if parent != other_parent {
        return 0;
    }
    let digits = |leaf: &str| {
        leaf.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let next = |leaf: &str, other: &str| {
        let numbers = (leaf.parse::<usize>().ok(), other.parse::<usize>().ok());
        matches!(numbers, (Some(one), Some(other)) if one + 1 == other)
    };
    let is_number = |leaf: &str| leaf.bytes().all(|it| it.is_ascii_digit());
    match () {
        () if is_number(&leaf) && is_number(&other_leaf) => {
            1 + usize::from(next(&leaf, &other_leaf))
        }
        () if digits(&leaf) == digits(&other_leaf) => 2,
        () => 1,
    }
}

/// Takes a batch norm's tensors and places as explained.
fn take(context: &mut Context<'_>, norm: &UnfoldedNorm) {
    context.take(norm.names());
    for slot in [1, 2] {
        context.open.remove(&Place {
            node: norm.node,
            slot,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::adjacency;

    #[test]
    fn names_tell_which_batch_norm_follows_a_convolution() {
        assert!(adjacency("l.0.conv1", "l.0.bn1") > adjacency("l.0.conv1", "l.0.bn2"));
        assert!(adjacency("l.0.conv1", "l.0.bn2") > adjacency("l.0.conv1", "l.1.bn1"));
        assert!(adjacency("down.0", "down.1") > adjacency("down.0", "down.4"));
        assert!(adjacency("features.3", "features.4") > adjacency("features.3", "features.1"));
    }
}
