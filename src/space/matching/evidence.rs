//! Evidence that the exporter folded a computation into tensors that were matched by name only.
//!
//! Fine-tuning moves tensors a little, and all by similar fractions. A computation that was folded
//! into the graph (a scale, a standardization, exp, a gate) separates the two sides: the
//! checkpoint's tensor lies far from the graph's, points elsewhere, has another length or signs.

use super::aligned::Aligned;
use super::findings::some;
use super::names::module;
use super::origin::Origin;
use crate::checkpoint::tensor::Tensor;
use crate::graph::network::Network;
use crate::graph::record::History;
use crate::space::decode;
use crate::space::pool::{Parameter, ParameterRole};
use crate::space::stored_tensor::StoredTensor;

/// Distance of a tensor from θ0's, relative to θ0's norm, above which it is conspicuous if it is
/// also above [`OUTLYING`] times the median: a tensor that moved by half its length while most
/// moved by an eighth at most.
const FAR: f64 = 0.5;
const OUTLYING: f64 = 4.0;

/// Cosine of a tensor with θ0's below which it is conspicuous if most are above [`ALIKE`].
const UNLIKE: f64 = 0.5;
const ALIKE: f64 = 0.9;

/// Ratio of lengths above which (or below whose inverse) a tensor that points like θ0's, with a
/// cosine above [`ALONG`], is conspicuous. A factor that was folded in keeps the direction; training
/// that doubles a tensor or halves it without turning it is rare (it takes strong weight decay).
const SCALED: f64 = 2.0;
const ALONG: f64 = 0.8;

/// The same for a tensor of one element, whose direction tells nothing: a temperature learned in
/// another unit (its logarithm) is off by more.
const RESCALED: f64 = 3.0;

/// Minimum number of elements of a row whose direction and length are compared.
const ROW: usize = 8;

/// Minimum number of elements of a tensor whose signs are compared, and the fraction of elements
/// with the other sign that is conspicuous. Of a gain that is positive everywhere, training turns a
/// few.
const SIGNS: usize = 8;
const OPPOSITE: f64 = 0.25;

/// Endings of tensors of a normalization, which exporters fold into the weights beside it.
const NORMALIZATION: [&str; 8] = [
    "running_mean",
    "running_var",
    "weight_g",
    "weight_v",
    "weight_orig",
    "weight_u",
    "parametrizations.weight.original0",
    "parametrizations.weight.original1",
];

/// Returns the evidence of folding in a checkpoint, if there is any.
pub(super) fn of_folding(
    network: &Network<'_>,
    aligned: &Aligned,
    checkpoint: usize,
) -> Option<String> {
    let members = &aligned.pool.members;
    let tensors = aligned.pool.parameters.iter().enumerate();
    let trained = tensors.filter(|(_, it)| it.role == ParameterRole::Trainable);
    let measured = trained.filter_map(|(index, parameter)| {
        let own = &members[checkpoint + 1].sources[index];
        Contrast::of(parameter, &members[0].sources[index].tensor, own)
    });
    let measured: Vec<Contrast<'_>> = measured.collect();
    let matrices = || measured.iter().filter(|it| it.is_typical);
    let typical = Typical {
        moved: median(matrices().map(|it| it.moved).collect()).unwrap_or(0.0),
        cosine: median(matrices().map(|it| it.cosine).collect()).unwrap_or(0.0),
    };
    let mut all: Vec<String> = lost_normalization(network, aligned, checkpoint);
    all.extend(measured.iter().filter_map(|it| it.told(&typical)));
    (!all.is_empty()).then(|| some(all))
}

/// Tensors of one sign at θ0 that have the other in a checkpoint, unless the exporter recorded that
/// it left them alone. A computation that is the identity at θ0 (|a|, a clamp) and was folded leaves
/// θ0's values as they are.
pub(super) fn of_signs(
    origin: &Origin<'_>,
    aligned: &Aligned,
    checkpoint: usize,
) -> Option<String> {
    let members = &aligned.pool.members;
    let tensors = aligned.pool.parameters.iter().enumerate();
    let told = tensors.filter_map(|(index, parameter)| {
        let graph = &members[0].sources[index];
        let recorded = origin.record.history(&graph.name, aligned.places[index][0]);
        let is_known = matches!(recorded, History::Untouched | History::Layout);
        if is_known || parameter.frozen || parameter.role != ParameterRole::Trainable {
            return None;
        }
        let own = &members[checkpoint + 1].sources[index];
        Contrast::of(parameter, &graph.tensor, own)?.told_by_signs()
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| some(told))
}

/// Tensors of a normalization that --ignore left out though the network beside them is in the
/// graph.
fn lost_normalization(network: &Network<'_>, aligned: &Aligned, checkpoint: usize) -> Vec<String> {
    let is_used = |name: &str| {
        // The module around the normalization: `layer1.0` of `layer1.0.bn1.running_var`.
        let around = module(module(name));
        let mut uses = network.uses.iter();
        uses.any(|it| it.initializer.starts_with(around) || it.alias.starts_with(around))
    };
    let names = aligned.passed_over[checkpoint].iter();
    let lost = names.filter(|name| {
        let ends = NORMALIZATION.iter().any(|ending| name.ends_with(ending));
        ends && is_used(name)
    });
    let lost: Vec<String> = lost.map(|name| format!("`{name}`")).collect();
    if lost.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "it has {}, and the graph has no such normalization",
        some(lost)
    )]
}

/// What most tensors of the checkpoint are like.
struct Typical {
    moved: f64,
    cosine: f64,
}

/// A checkpoint's tensor beside the graph's.
struct Contrast<'a> {
    name: &'a str,
    len: usize,
    /// Whether it is a matrix, a filter or a single scale: ordinary training moves biases and gains
    /// far.
    is_typical: bool,
    /// Distance from θ0's, relative to θ0's norm.
    moved: f64,
    /// Cosine with θ0's, and norm relative to θ0's.
    cosine: f64,
    ratio: f64,
    /// The medians of cosine and ratio over the rows, if they are long enough.
    rows: Option<(f64, f64)>,
    /// Whether the graph's elements all have one sign, and how many of the checkpoint's have the
    /// other.
    one_sided: bool,
    opposite: usize,
}

impl<'a> Contrast<'a> {
    /// Compares two tensors; `None` if one of them is zero.
    fn of(parameter: &'a Parameter, graph: &Tensor, own: &StoredTensor) -> Option<Self> {
        let row_len: usize = parameter.shape.iter().skip(1).product();
        let len = parameter.len();
        let by_row = parameter.shape.len() > 1 && row_len >= ROW;
        let row_len = if by_row { row_len } else { len.max(1) };
        let mut rows = vec![[0.0_f64; 3]; len / row_len];
        // [sign of the graph's][sign of the checkpoint's]: negative, zero, positive.
        let mut signs = [[0_usize; 3]; 3];
        let sign = |x: f64| 1 + usize::from(x > 0.0) - usize::from(x < 0.0);
        let mut at = 0;
        decode::side_by_side(&StoredTensor::nameless(graph, false), own, |a, b| {
            for (&a, &b) in a.iter().zip(b) {
                let row = &mut rows[at / row_len];
                row[0] += a * a;
                row[1] += a * b;
                row[2] += b * b;
                signs[sign(a)][sign(b)] += 1;
                at += 1;
            }
            true
        });
        let sum = |k: usize| rows.iter().map(|row| row[k]).sum::<f64>();
        let (squared, product, own_squared) = (sum(0), sum(1), sum(2));
        if !(squared > 0.0 && own_squared > 0.0) {
            return None;
        }
        let positive = signs[2].iter().sum::<usize>() == len;
        let negative = signs[0].iter().sum::<usize>() == len;
        let medians = || {
            let cosines = rows.iter().map(|row| row[1] / (row[0] * row[2]).sqrt());
            let ratios = rows.iter().map(|row| (row[2] / row[0]).sqrt());
            Some((median(cosines.collect())?, median(ratios.collect())?))
        };
        Some(Self {
            name: &parameter.name,
            len,
            is_typical: parameter.shape.len() > 1 || len == 1,
            moved: (squared - 2.0 * product + own_squared).max(0.0).sqrt() / squared.sqrt(),
            cosine: product / (squared * own_squared).sqrt(),
            ratio: (own_squared / squared).sqrt(),
            rows: by_row.then(medians).flatten(),
            one_sided: positive || negative,
            opposite: if positive { signs[2][0] } else { signs[0][2] },
        })
    }

    /// Says if the tensor has one sign in the graph, and the other in the checkpoint.
    fn told_by_signs(&self) -> Option<String> {
        let enough = self.len >= SIGNS || self.len == 1;
        let turned = self.opposite as f64 >= OPPOSITE * self.len as f64;
        (self.one_sided && enough && turned).then(|| {
            format!(
                "`{}` has one sign in the graph, and {} of its {} elements have the other in the \
                 checkpoint",
                self.name, self.opposite, self.len
            )
        })
    }

    /// Says what is conspicuous about the tensor.
    fn told(&self, typical: &Typical) -> Option<String> {
        if let Some(told) = self.told_by_signs() {
            return Some(told);
        }
        let Self {
            name,
            moved,
            cosine,
            ..
        } = self;
        let few = self.len < SIGNS;
        let far = *moved > FAR && *moved > OUTLYING * typical.moved;
        let unlike = self.len > 3 && *cosine < UNLIKE && typical.cosine > ALIKE;
        if (self.is_typical && (far || unlike)) || (self.one_sided && !few && unlike) {
            return Some(format!(
                "`{name}` lies {moved:.2} of θ0's length from it (cosine {cosine:.2}), where the \
                 median tensor lies {:.2} from it",
                typical.moved
            ));
        }
        let beyond = |ratio: f64, factor: f64| ratio > factor || ratio < 1.0 / factor;
        let (cosine, ratio) = self.rows.unwrap_or((self.cosine, self.ratio));
        let scaled = match self.len {
            1 => beyond(ratio, RESCALED),
            _ => !few && self.is_typical && cosine > ALONG && beyond(ratio, SCALED),
        };
        scaled.then(|| {
            format!(
                "`{name}` points like θ0's (cosine {cosine:.2}) but is {ratio:.2} times as long"
            )
        })
    }
}

/// The median, the lower of two; `None` for an empty list.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| !value.is_nan());
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor::Dtype;
    use crate::space::testing::source;

    /// What is said about a tensor of this shape, where others moved by a twentieth.
    fn told(shape: &[usize], graph: &[f64], own: &[f64]) -> Option<String> {
        let parameter = Parameter {
            name: "w".to_string(),
            shape: shape.to_vec(),
            dtype: Dtype::F64,
            role: ParameterRole::Trainable,
            tied_to: None,
            frozen: false,
        };
        let tensor = |values: &[f64]| source(values, shape, Dtype::F64, false);
        let contrast = Contrast::of(&parameter, &tensor(graph).tensor, &tensor(own))?;
        contrast.told(&Typical {
            moved: 0.05,
            cosine: 0.99,
        })
    }

    /// Irregular numbers around 0.
    fn wave(len: usize, phase: f64) -> Vec<f64> {
        let at = |k: usize| (1.7 * k as f64 + phase).sin() + 0.3 * (0.9 * (k * k) as f64).cos();
        (0..len).map(at).collect()
    }

    fn near(values: &[f64]) -> Vec<f64> {
        let noise = wave(values.len(), 2.5).into_iter();
        values
            .iter()
            .zip(noise)
            .map(|(a, b)| a + 0.05 * b)
            .collect()
    }

    #[test]
    fn computations_that_exporters_fold_are_conspicuous() {
        let parameter = wave(16, 0.2);
        let of = |f: fn(f64) -> f64| -> Vec<f64> { parameter.iter().map(|&x| f(x)).collect() };
        // Gates, RMSNorm's 1 + g, softplus, −exp (Mamba): one-sided in the graph.
        for folded in [
            of(|x| 1.0 / (1.0 + (-x).exp())),
            of(|x| 1.0 + 0.5 * x),
            of(|x| (1.0 + x.exp()).ln()),
            of(|x| -x.exp()),
        ] {
            let text = told(&[16], &folded, &near(&parameter)).unwrap();
            assert!(text.contains("has one sign"), "{text}");
        }
        // CLIP's exp(logit_scale).
        let text = told(&[], &[2.66_f64.exp()], &[2.7]).unwrap();
        assert!(text.contains("lies 0.81"), "{text}");
        // A factor of each row (batch norm, standardization), whatever the others moved by.
        let weight = wave(8 * 27, 0.4);
        let rows = weight.iter().enumerate();
        let scaled: Vec<f64> = rows.map(|(k, x)| x * (3.0 + (k / 27) as f64)).collect();
        let far = Typical {
            moved: 0.8,
            cosine: 0.95,
        };
        let shape = [8, 3, 3, 3];
        let parameter = Parameter {
            name: "c".to_string(),
            shape: shape.to_vec(),
            dtype: Dtype::F64,
            role: ParameterRole::Trainable,
            tied_to: None,
            frozen: false,
        };
        let tensor = |values: &[f64]| source(values, &shape, Dtype::F64, false);
        let contrast = Contrast::of(&parameter, &tensor(&scaled).tensor, &tensor(&near(&weight)));
        let text = contrast.unwrap().told(&far).unwrap();
        assert!(text.contains("points like θ0's"), "{text}");
    }

    #[test]
    fn ordinary_fine_tunes_are_not() {
        let gain = |x: &f64| 1.0 + 0.2 * x;
        let gains: Vec<f64> = wave(64, 0.1).iter().map(gain).collect();
        let ones = vec![1.0; 64];
        let turned = |values: &[f64]| -> Vec<f64> {
            // Training turned one gain in nine.
            let turn = |(k, x): (usize, &f64)| if k % 9 == 0 { -x } else { *x };
            values.iter().enumerate().map(turn).collect()
        };
        for (shape, graph, own) in [
            (vec![64], ones.clone(), gains.clone()),
            (vec![64], gains.clone(), turned(&gains)),
            // A bias that began at zero, and one that moved far.
            (vec![64], vec![0.0; 64], wave(64, 0.3)),
            (vec![64], wave(64, 0.3), wave(64, 1.3)),
            (vec![8, 8], wave(64, 0.3), near(&wave(64, 0.3))),
            // A temperature that doubled.
            (vec![1], vec![10.0], vec![14.0]),
            // Few elements may have one sign by chance.
            (vec![3], vec![0.1, 0.2, 0.1], vec![-0.1, 0.2, 0.3]),
        ] {
            assert_eq!(told(&shape, &graph, &own), None, "{shape:?}");
        }
    }
}
