//! Averages of batch norm's running variances. Within the checkpoints' convex hull a mix has these
//! averages. Outside it they may be negative, and a mix has others instead
//! ([`super::log_variance`]).

use rayon::prelude::*;

use super::decode;
use super::matching::Aligned;
use super::mix::Mix;
use super::pool::Pool;
use crate::graph::network::{Network, Place};

/// A parameter that holds running variances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variance {
    /// Index of the parameter.
    pub parameter: usize,
    /// Epsilon that batch norm adds before it takes the root.
    pub epsilon: f64,
}

/// The averages of variances that are negative in some mixes.
#[derive(Debug, Clone, PartialEq)]
pub struct Negative {
    /// Name of the tensor with the smallest value.
    pub name: String,
    /// The smallest value.
    pub least: f64,
    /// Number of other tensors with a negative variance.
    pub others: usize,
    /// Indices of the mixes with a negative variance, in order; not empty.
    pub mixes: Vec<usize>,
}

/// Epsilon of batch norm if the graph does not give it.
const EPSILON: f64 = 1e-5;

/// Fraction of epsilon beyond which a negative variance counts. Up to it, the channel is dead and
/// its scale changes by less than half a thousandth.
const COUNTS: f64 = 1e-3;

/// The running variances of a network that move with the mix: tensors in the fifth slot of a batch
/// norm in inference mode, and tensors named `running_var`.
pub fn variances(network: &Network<'_>, aligned: &Aligned) -> Vec<Variance> {
    let parameters = aligned.pool.parameters.iter().zip(&aligned.places);
    let found = parameters.enumerate().filter(|(_, (it, _))| !it.frozen);
    let found = found.filter_map(|(index, (parameter, places))| {
        let epsilon = places.iter().find_map(|place| epsilon(network, *place));
        let is_named = parameter.name.ends_with("running_var");
        let epsilon = epsilon.or(is_named.then_some(EPSILON))?;
        Some(Variance {
            parameter: index,
            epsilon,
        })
    });
    found.collect()
}

/// Epsilon of the batch norm whose variance is read at a place.
fn epsilon(network: &Network<'_>, place: Place) -> Option<f64> {
    let node = &network.nodes()[place.node];
    let is_variance = node.op_type() == "BatchNormalization" && place.slot == 4;
    let mut attributes = node.attribute.iter();
    let given = attributes.find(|attribute| attribute.name() == "epsilon");
    let epsilon = given.and_then(|attribute| attribute.f);
    is_variance.then(|| epsilon.map_or(EPSILON, f64::from))
}

/// Finds mixes in which an average of variances is negative. Only mixes with a negative coefficient are checked.
pub fn negative(pool: &Pool, variances: &[Variance], mixes: &[Mix]) -> Option<Negative> {
    let is_beyond = |mix: &Mix| mix.rows().iter().flatten().any(|c| *c < 0.0);
    let beyond = mixes.iter().enumerate().filter(|(_, mix)| is_beyond(mix));
    let beyond: Vec<(usize, &Mix)> = beyond.collect();
    let mut is_negative = vec![false; mixes.len()];
    let mut worst: Option<(f64, usize)> = None;
    let mut tensors = 0;
    for variance in variances {
        let least = least(pool, variance.parameter, &beyond);
        let counting = least.iter().zip(&beyond);
        let counting = counting.filter(|(least, _)| **least < -COUNTS * variance.epsilon);
        let mut counts = false;
        for (&least, (index, _)) in counting {
            is_negative[*index] = true;
            counts = true;
            if worst.is_none_or(|(worst, _)| least < worst) {
                worst = Some((least, variance.parameter));
            }
        }
        tensors += usize::from(counts);
    }
    let (least, parameter) = worst?;
    Some(Negative {
        name: pool.parameters[parameter].name.clone(),
        least,
        others: tensors - 1,
        mixes: (0..mixes.len()).filter(|&mix| is_negative[mix]).collect(),
    })
}

/// `least[mix]`: the smallest element of a parameter in each mix.
fn least(pool: &Pool, parameter: usize, mixes: &[(usize, &Mix)]) -> Vec<f64> {
    if mixes.is_empty() {
        return Vec::new();
    }
    // Variances are small: one number per channel.
    let members = pool.members.iter();
    let members: Vec<Vec<f64>> = members
        .map(|member| decode::values(&member.sources[parameter]))
        .collect();
    let least = |(_, mix): &(usize, &Mix)| {
        let terms = mix.row(parameter).iter().zip(&members);
        // Members with coefficient 0 are not read: they may hold NaN.
        let terms: Vec<_> = terms.filter(|(c, _)| **c != 0.0).collect();
        let sum = |channel: usize| terms.iter().map(|(c, values)| *c * values[channel]).sum();
        let channels = 0..pool.parameters[parameter].len();
        channels.map(sum).fold(f64::INFINITY, f64::min)
    };
    mixes.par_iter().map(least).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::testing::pool;

    const ONLY: [Variance; 1] = [Variance {
        parameter: 0,
        epsilon: 1e-5,
    }];

    fn line(alphas: &[f64]) -> Vec<Mix> {
        let mix = |alpha: &f64| Mix::new(vec![0.0, 1.0 - alpha, *alpha]);
        alphas.iter().map(mix).collect()
    }

    #[test]
    fn a_variance_is_negative_beyond_the_hull_where_its_line_crosses_zero() {
        // 1 → 3 is 0 at α = −½, 2 → 1 at α = 2.
        let pool = pool(&[&[f64::NAN, 1.0], &[1.0, 2.0], &[3.0, 1.0]]);
        let mixes = line(&[-0.75, -0.5, -0.25, 0.0, 0.5, 1.0, 1.5, 2.0, 2.25]);
        let found = negative(&pool, &ONLY, &mixes).unwrap();
        assert_eq!(found.mixes, [0, 8]);
        assert_eq!((found.least, found.others), (-0.5, 0));
        assert_eq!(found.name, pool.parameters[0].name);
        assert_eq!(negative(&pool, &ONLY, &mixes[1..8]), None);
    }

    #[test]
    fn what_epsilon_drowns_is_no_negative_variance_and_what_it_hides_is() {
        let pool = pool(&[&[0.0], &[1e-9], &[3e-9]]);
        assert_eq!(negative(&pool, &ONLY, &line(&[-1.0])), None);
        // Smaller than epsilon: the result is finite but wrong.
        let pool = super::tests::pool(&[&[0.0], &[1e-6], &[3e-6]]);
        let found = negative(&pool, &ONLY, &line(&[-1.0])).unwrap();
        assert!((found.least + 1e-6).abs() < 1e-18);
    }

    #[test]
    fn tensors_are_counted_and_may_have_coefficients_of_their_own() {
        let mut pool = crate::space::testing::random_pool(3, &[vec![2], vec![2]], 1);
        for member in &mut pool.members {
            let size = if member.name == "m2" { 4.0 } else { 1.0 };
            for source in &mut member.sources {
                *source = crate::space::testing::source(
                    &[size, 1.0],
                    &[2],
                    crate::checkpoint::tensor::Dtype::F64,
                    false,
                );
            }
        }
        let both = [0, 1].map(|parameter| Variance {
            parameter,
            epsilon: 1e-5,
        });
        let inside = vec![0.0, 0.5, 0.5];
        let outside = vec![0.0, 2.0, -1.0];
        let one = Mix::by_parameter(vec![inside.clone(), outside.clone()]);
        let found = negative(&pool, &both, &[Mix::new(inside), one]).unwrap();
        assert_eq!((found.mixes, found.others, found.least), (vec![1], 0, -2.0));
        let found = negative(&pool, &both, &[Mix::new(outside)]).unwrap();
        assert_eq!(found.others, 1);
    }
}
