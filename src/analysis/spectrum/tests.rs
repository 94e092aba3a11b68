//! Closed forms first, then comparisons with nalgebra's eigenvalues of the whole matrix.
//!
//! Unless stated otherwise, a value may be off by 1e-10 of the largest eigenvalue: 100 steps of f64
//! arithmetic on vectors of a few hundred elements round by about 1e-13 of it.

use std::cell::Cell;

use nalgebra::DMatrix;
use proptest::prelude::*;

use super::testing::{Broken, Dense, Diagonal, eigenvalues, random, symmetric, with_eigenvalues};
use super::*;
use crate::evaluate::quadratic::Quadratic;
use crate::result::spectrum::End;
use crate::space::testing::pool;

const CLOSE: f64 = 1e-10;

/// A plan for eigenvalues only, to the last digit.
fn ends(top: usize, bottom: usize, steps: usize) -> SpectrumPlan {
    SpectrumPlan {
        top,
        bottom,
        steps,
        tolerance: 1e-11,
        trace: 0,
        density: None,
        seed: 3,
    }
}

fn found(operator: &dyn LinearOperator, plan: &SpectrumPlan) -> FoundSpectrum {
    spectrum(operator, None, plan, &mut |_| {}).unwrap()
}

fn values(found: &FoundSpectrum, end: End) -> Vec<f64> {
    let of_end = found.eigenvalues.iter().filter(|of| of.end == end);
    of_end.map(|of| of.value).collect()
}

#[track_caller]
fn near(found: &[f64], expected: &[f64], within: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= within, "{found:?} {expected:?}");
    }
}

/// The second difference with fixed ends. Its eigenvalues are 2 − 2cos(kπ/(n+1)), k = 1..=n.
struct Chain(usize);

impl LinearOperator for Chain {
    fn dim(&self) -> usize {
        self.0
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        let at = |k: Option<usize>| k.and_then(|k| v.get(k)).copied().unwrap_or(0.0);
        let value = |k: usize| 2.0 * v[k] - at(k.checked_sub(1)) - at(Some(k + 1));
        Ok((0..v.len()).map(value).collect())
    }
}

#[test]
fn the_ends_of_a_diagonal_are_its_largest_and_smallest_entries() {
    let mut diagonal: Vec<f64> = (0..300).map(|k| (f64::from(k) * 0.7).sin()).collect();
    diagonal.extend([50.0, 20.0, -8.0]);
    let found = found(&Diagonal(diagonal), &ends(2, 1, 300));
    near(&values(&found, End::Top), &[50.0, 20.0], 50.0 * CLOSE);
    near(&values(&found, End::Bottom), &[-8.0], 50.0 * CLOSE);
    assert!(found.eigenvalues.iter().all(|of| of.converged));
    assert!(found.warnings.is_empty());
    // Outliers converge long before the whole space is spanned.
    assert!(found.products < 60, "{}", found.products);
}

#[test]
fn a_chain_has_the_eigenvalues_of_its_closed_form() {
    let n = 60;
    let exact = |k: usize| 2.0 - 2.0 * (k as f64 * std::f64::consts::PI / (n as f64 + 1.0)).cos();
    let found = found(&Chain(n), &ends(3, 3, n));
    near(
        &values(&found, End::Top),
        &[exact(n), exact(n - 1), exact(n - 2)],
        4.0 * CLOSE,
    );
    near(
        &values(&found, End::Bottom),
        &[exact(1), exact(2), exact(3)],
        4.0 * CLOSE,
    );
}

#[test]
fn a_quadratic_loss_has_the_spectrum_of_its_curvature() {
    let origin = [0.0; 4];
    let curvature = vec![3.0, -1.0, 0.5, 2.0];
    let loss = Quadratic::new(&pool(&[&origin]), vec![1.0; 4], curvature, 0.1);
    let plan = SpectrumPlan {
        trace: 4,
        ..ends(4, 1, 10)
    };
    let found = found(&loss, &plan);
    near(&values(&found, End::Top), &[3.0, 2.0, 0.5, -1.0], CLOSE);
    near(&values(&found, End::Bottom), &[-1.0], CLOSE);
    let trace = found.trace.unwrap();
    assert!((trace.value - 4.5).abs() < CLOSE && trace.se == 0.0);
}

#[test]
fn repeated_eigenvalues_come_as_often_as_they_stand() {
    let diagonal = [5.0, 5.0, 5.0, 2.0, 1.0, 1.0, 0.0, -3.0, -3.0, 1.0, 1.0, 1.0];
    let found = found(&Diagonal(diagonal.to_vec()), &ends(4, 3, 12));
    near(&values(&found, End::Top), &[5.0, 5.0, 5.0, 2.0], CLOSE);
    near(&values(&found, End::Bottom), &[-3.0, -3.0, 0.0], CLOSE);
}

#[test]
fn one_value_alone_is_found_as_often_as_it_is_asked_for() {
    let found = found(&Diagonal(vec![0.25; 1000]), &ends(3, 2, 40));
    near(&values(&found, End::Top), &[0.25; 3], CLOSE);
    near(&values(&found, End::Bottom), &[0.25; 2], CLOSE);
    // One product each, and one along each vector; the third shows that nothing lies beyond.
    assert_eq!(found.products, 3 + 5);
}

#[test]
fn rank_one_is_one_value_and_zeros() {
    let u = random(400, 1, 5);
    let matrix = &u * u.transpose();
    let length = u.norm_squared();
    let found = found(&Dense(matrix), &ends(2, 2, 50));
    near(
        &values(&found, End::Top),
        &[length, 0.0],
        400.0 * length * 1e-13,
    );
    near(&values(&found, End::Bottom), &[0.0, 0.0], length * 1e-11);
    // A step each, and the vectors of the four values.
    assert!(found.products <= 6 + 4, "{}", found.products);
    assert!(found.eigenvalues.iter().all(|of| of.converged));
}

#[test]
fn a_start_within_an_invariant_space_closes_it_exactly() {
    let mut krylov = lanczos::Krylov::new(Array1::from(vec![1.0, 1.0, 0.0, 0.0]));
    let operator = Diagonal(vec![4.0, -2.0, 9.0, 7.0]);
    let mut products = Products {
        operator: &operator,
        progress: &mut |_| {},
        done: 0,
    };
    krylov.step(&mut products).unwrap();
    assert!(!krylov.closed() && krylov.extend());
    krylov.step(&mut products).unwrap();
    assert!(krylov.closed());
    near(&krylov.ritz().unwrap().values, &[4.0, -2.0], 1e-14);
}

#[test]
fn all_zeros_are_zeros() {
    let plan = SpectrumPlan {
        trace: 6,
        density: Some(Quadrature::default()),
        ..ends(3, 3, 20)
    };
    let found = found(&Diagonal(vec![0.0; 50]), &plan);
    for end in [End::Top, End::Bottom] {
        assert_eq!(values(&found, end), [0.0; 3]);
    }
    let exact = Trace {
        value: 0.0,
        se: 0.0,
        sampling_se: None,
    };
    assert_eq!(found.trace, Some(exact));
    let density = found.density.unwrap();
    assert!(density.nodes.iter().all(|node| *node == 0.0));
    assert!(density.values.iter().all(|value| value.is_finite()));
}

#[test]
fn a_negative_definite_spectrum_keeps_its_order() {
    let matrix = -(random(30, 30, 8) * random(30, 30, 8).transpose());
    let exact = eigenvalues(&matrix);
    let found = found(&Dense(matrix), &ends(3, 2, 30));
    near(&values(&found, End::Top), &exact[..3], -exact[29] * CLOSE);
    near(
        &values(&found, End::Bottom),
        &[exact[29], exact[28]],
        -exact[29] * CLOSE,
    );
}

#[test]
fn more_ends_and_steps_than_dimensions_give_the_whole_spectrum_twice() {
    let found = found(&Diagonal(vec![1.0, -2.0]), &ends(5, 5, 100));
    near(&values(&found, End::Top), &[1.0, -2.0], CLOSE);
    near(&values(&found, End::Bottom), &[-2.0, 1.0], CLOSE);
    assert_eq!(found.products, 2 + 4);
    let found = self::found(&Diagonal(vec![7.0]), &ends(1, 1, 100));
    near(&values(&found, End::Top), &[7.0], CLOSE);
}

#[test]
fn residuals_hold_an_eigenvalue_and_say_what_has_not_converged() {
    let matrix = symmetric(200, 2);
    let exact = eigenvalues(&matrix);
    let plan = SpectrumPlan {
        tolerance: 1e-3,
        ..ends(5, 5, 25)
    };
    let found = found(&Dense(matrix), &plan);
    assert!(found.eigenvalues.iter().any(|of| !of.converged));
    assert!(found.warnings[0].contains("have not converged"));
    for of in &found.eigenvalues {
        let away = exact.iter().map(|value| (value - of.value).abs());
        let nearest = away.fold(f64::INFINITY, f64::min);
        assert!(nearest <= of.residual + 1e-12, "{of:?} {nearest}");
        assert_eq!(of.converged, of.residual <= 1e-3 * of.value.abs());
    }
}

#[test]
fn a_residual_holds_what_the_operator_lacks_in_symmetry() {
    // A product from differences of gradients is never exactly symmetric.
    let skew = random(40, 40, 6) * 1e-3;
    let matrix = with_eigenvalues(&(0..40).map(f64::from).collect::<Vec<_>>(), 1) + skew;
    let found = found(&Dense(matrix), &ends(1, 1, 40));
    for of in found.eigenvalues {
        assert!(
            (1e-5..0.1).contains(&of.residual) && !of.converged,
            "{of:?}"
        );
    }
}

#[test]
fn the_trace_lies_within_its_error_and_a_low_rank_is_exact() {
    let diagonal: Vec<f64> = (1..=400).map(|k| 100.0 / f64::from(k * k)).collect();
    let truth: f64 = diagonal.iter().sum();
    let matrix = with_eigenvalues(&diagonal, 4);
    let trace = |matrix: &nalgebra::DMatrix<f64>, seed: u64, budget: usize| {
        let plan = SpectrumPlan {
            trace: budget,
            seed,
            ..ends(0, 0, 1)
        };
        let found = found(&Dense(matrix.clone()), &plan);
        assert_eq!(found.products, budget);
        found.trace.unwrap()
    };
    // Ten probes: t with nine degrees of freedom exceeds 4.3 once in 500.
    for seed in 0..20 {
        let Trace { value, se, .. } = trace(&matrix, seed, 30);
        assert!((value - truth).abs() < 4.3 * se, "{value} ± {se} {truth}");
        // The exact part contains most of the trace: ten signs alone are off by 15.
        assert!(se < 0.05 * truth, "{se}");
    }
    let mut few = vec![0.0; 60];
    few[..3].copy_from_slice(&[9.0, -4.0, 1.0]);
    let plan = SpectrumPlan {
        trace: 15,
        ..ends(0, 0, 1)
    };
    let found = found(&Dense(with_eigenvalues(&few, 9)), &plan);
    let Trace { value, se, .. } = found.trace.unwrap();
    assert!((value - 6.0).abs() < 1e-9 && se < 1e-9, "{value} {se}");
}

#[test]
fn the_trace_is_unbiased() {
    // Over 200 seeds the mean lies within four of its own standard errors (all but once in 15 000).
    let matrix = symmetric(30, 12);
    let estimates = (0..200).map(|seed| {
        let plan = SpectrumPlan {
            trace: 9,
            seed,
            ..ends(0, 0, 1)
        };
        found(&Dense(matrix.clone()), &plan).trace.unwrap().value
    });
    let off: Vec<f64> = estimates.map(|value| value - matrix.trace()).collect();
    let mean = off.iter().sum::<f64>() / 200.0;
    let se = (off.iter().map(|o| (o - mean).powi(2)).sum::<f64>() / 199.0 / 200.0).sqrt();
    assert!(mean.abs() < 4.0 * se, "{mean} ± {se}");
}

#[test]
fn few_products_still_give_a_trace() {
    let operator = Diagonal((1..=100).map(f64::from).collect());
    for budget in 1..=5 {
        let plan = SpectrumPlan {
            trace: budget,
            ..ends(0, 0, 1)
        };
        let found = found(&operator, &plan);
        assert_eq!(found.products, budget);
        let trace = found.trace.unwrap();
        // Signs give the diagonal exactly; from one alone, no standard error can be computed.
        assert!(budget > 2 || (trace.value - 5050.0).abs() < 1e-9);
        assert_eq!(trace.se.is_nan(), matches!(budget, 1 | 3), "{budget}");
    }
}

/// Σ wₖ θₖᵖ.
fn moment(density: &Density, power: i32) -> f64 {
    let pairs = density.nodes.iter().zip(&density.weights);
    pairs.map(|(node, weight)| weight * node.powi(power)).sum()
}

fn quadrature(operator: &dyn LinearOperator, probes: usize, steps: usize) -> Density {
    let plan = SpectrumPlan {
        density: Some(Quadrature {
            probes,
            steps,
            ..Quadrature::default()
        }),
        ..ends(0, 0, 1)
    };
    found(operator, &plan).density.unwrap()
}

#[test]
fn moments_of_a_diagonal_are_exact_as_far_as_the_quadrature_goes() {
    // Signs weight all diagonal entries equally, so each probe has the exact moments.
    let diagonal: Vec<f64> = (0..97).map(|k| (f64::from(k) * 1.3).cos()).collect();
    let steps = 6;
    let density = quadrature(&Diagonal(diagonal.clone()), 3, steps);
    assert_eq!(density.nodes.len(), 3 * steps);
    let exact = |power: i32| {
        let powers = diagonal.iter().map(|value| value.powi(power));
        powers.sum::<f64>() / 97.0
    };
    for power in 0..2 * steps as i32 {
        let away = (moment(&density, power) - exact(power)).abs();
        assert!(away < 1e-12, "{power}: {away}");
    }
    let beyond = 2 * steps as i32;
    assert!((moment(&density, beyond) - exact(beyond)).abs() > 1e-8);
}

#[test]
fn moments_of_any_matrix_are_right_on_average() {
    // The mean of v·Hᵖv over signs has variance ≤ 2‖Hᵖ‖²/n² per probe (Frobenius): four standard
    // errors of 200 probes.
    let matrix = symmetric(50, 21) * 0.1;
    let density = quadrature(&Dense(matrix.clone()), 200, 4);
    let mut power = nalgebra::DMatrix::<f64>::identity(50, 50);
    for p in 0..8 {
        let se = (2.0_f64 / 200.0).sqrt() * power.norm() / 50.0;
        let away = (moment(&density, p) - power.trace() / 50.0).abs();
        assert!(away < 4.0 * se, "{p}: {away} {se}");
        power *= &matrix;
    }
}

#[test]
fn a_density_is_one_in_all_and_can_be_drawn_anew() {
    let mut diagonal = vec![0.01; 500];
    diagonal.extend([50.0, 7.0, -2.0]);
    let density = quadrature(&Diagonal(diagonal), 4, 20);
    assert!((density.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let step = density.grid[1] - density.grid[0];
    let mass: f64 = density.values.iter().map(|value| value * step).sum();
    // The grid ends six standard deviations beyond the nodes, where 1e-9 is left.
    assert!((mass - 1.0).abs() < 1e-7, "{mass}");
    assert!(density.grid[0] < -2.0 && *density.grid.last().unwrap() > 50.0);
    let Density {
        nodes,
        weights,
        width,
        grid,
        ..
    } = &density;
    assert_eq!(smooth(nodes, weights, *width, grid), density.values);
    assert!(nodes.windows(2).all(|pair| pair[0] <= pair[1]));
}

#[test]
fn a_narrow_width_takes_a_finer_grid() {
    let plan = |width: f64| SpectrumPlan {
        density: Some(Quadrature {
            width: Some(width),
            points: 50,
            ..Quadrature::default()
        }),
        ..ends(0, 0, 1)
    };
    let operator = Diagonal((0..20).map(f64::from).collect());
    let points = |width: f64| {
        let found = found(&operator, &plan(width));
        found.density.unwrap().grid.len()
    };
    assert_eq!(points(1.0), 63);
    assert!(points(0.01) > 4000 && points(1e-9) == 20_001);
    for width in [0.0, -1.0, f64::NAN] {
        let error = spectrum(&operator, None, &plan(width), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("no positive number"));
    }
}

#[test]
fn a_plan_says_what_it_takes() {
    let plan = SpectrumPlan {
        trace: 30,
        density: Some(Quadrature {
            probes: 5,
            steps: 40,
            ..Quadrature::default()
        }),
        ..ends(2, 2, 60)
    };
    assert_eq!(plan.products(10_000, false), 60 + 4 + 30 + 200);
    assert_eq!(plan.products(10_000, true), 60 + 8 + 30 + 200);
    assert_eq!(plan.memory(10_000), 66 * 10_000 * 8);
    assert_eq!(plan.products(7, false), 7 + 4 + 7 + 35);
    let mut told = Vec::new();
    let operator = Dense(symmetric(80, 5));
    let found = spectrum(&operator, None, &plan, &mut |done| told.push(done)).unwrap();
    assert_eq!(found.products, plan.products(80, false));
    assert_eq!(told, (1..=found.products).collect::<Vec<_>>());
    let nothing = SpectrumPlan {
        trace: 0,
        density: None,
        ..ends(0, 0, 60)
    };
    assert_eq!(nothing.products(10_000, true), 0);
}

#[test]
fn the_seed_makes_the_result_and_parts_do_not_touch_each_other() {
    let operator = Dense(symmetric(60, 7));
    let plan = SpectrumPlan {
        steps: 20,
        trace: 12,
        ..SpectrumPlan::default()
    };
    let whole = found(&operator, &plan);
    assert_eq!(whole, found(&operator, &plan));
    let other = found(
        &operator,
        &SpectrumPlan {
            seed: 1,
            ..plan.clone()
        },
    );
    assert_ne!(whole.trace, other.trace);
    assert_ne!(whole.density, other.density);
    let part = SpectrumPlan {
        top: 0,
        bottom: 0,
        trace: 0,
        ..plan
    };
    assert_eq!(found(&operator, &part).density, whole.density);
}

#[test]
fn what_an_operator_fails_by_is_said() {
    let run = |left: usize, then: Option<f64>| {
        let operator = Broken {
            left: Cell::new(left),
            then,
        };
        let error = spectrum(&operator, None, &SpectrumPlan::default(), &mut |_| {}).unwrap_err();
        error.to_string()
    };
    assert_eq!(run(5, None), "network: stopped");
    let text = run(2, Some(f64::NAN));
    assert!(
        text.contains("product 3 with a vector is NaN at element 3"),
        "{text}"
    );
    assert!(run(30, Some(f64::INFINITY)).contains("is inf"));
    let empty = spectrum(
        &Diagonal(Vec::new()),
        None,
        &SpectrumPlan::default(),
        &mut |_| {},
    );
    assert!(empty.unwrap_err().to_string().contains("no parameter"));
    struct Short;
    impl LinearOperator for Short {
        fn dim(&self) -> usize {
            4
        }
        fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
            Ok(v[1..].to_vec())
        }
    }
    let short = spectrum(&Short, None, &SpectrumPlan::default(), &mut |_| {});
    assert!(short.unwrap_err().to_string().contains("3 elements"));
}

/// The mean of Hessians, one a sample, in groups of samples.
struct Samples {
    hessians: Vec<DMatrix<f64>>,
    groups: usize,
}

/// Length of the vectors of [`Samples`], and the eigenvalues of their true mean.
const SAMPLED: [f64; 6] = [9.0, 5.0, 3.0, 2.0, 1.0, -2.0];

impl Samples {
    /// `n` Hessians around the diagonal one with the eigenvalues [`SAMPLED`], with normal noise.
    fn drawn(n: usize, groups: usize, seed: u64) -> Self {
        let mean = DMatrix::from_diagonal(&SAMPLED.to_vec().into());
        let noise = |k: u64| &mean + symmetric(SAMPLED.len(), 1_000_000 * (seed + 1) + k) * 2.0;
        let hessians = (0..n as u64).map(noise).collect();
        Self { hessians, groups }
    }

    fn mean(hessians: &[DMatrix<f64>]) -> DMatrix<f64> {
        let sum = hessians.iter().fold(DMatrix::zeros(6, 6), |sum, h| sum + h);
        sum / hessians.len() as f64
    }
}

impl LinearOperator for Samples {
    fn dim(&self) -> usize {
        SAMPLED.len()
    }

    fn apply(&self, v: &[f64]) -> Result<Vec<f64>> {
        Dense(Self::mean(&self.hessians)).apply(v)
    }

    fn along(&self, v: &[f64]) -> Result<Vec<GroupCurvature>> {
        let n = self.hessians.len();
        let group = |k: usize| {
            let group = &self.hessians[k * n / self.groups..(k + 1) * n / self.groups];
            let product = Dense(Self::mean(group)).apply(v)?;
            Ok(GroupCurvature {
                samples: group.len(),
                value: product.iter().zip(v).map(|(h, v)| h * v).sum(),
            })
        };
        (0..self.groups).map(group).collect()
    }
}

#[test]
fn sampling_errors_are_the_spread_over_draws_of_the_samples() {
    // Over draws, the standard deviation is uncertain by 1/√(2·400) = 3.5 %, the mean of the
    // variances by less. 50 samples in 12 groups of 4 and 5 are a case with unequal sizes.
    const DRAWS: u64 = 400;
    let plan = SpectrumPlan {
        trace: 1_000,
        ..ends(1, 1, 6)
    };
    let (mut found_values, mut variances) = (vec![Vec::new(); 3], vec![0.0; 3]);
    let mut held_out = [0.0; 2];
    for draw in 0..DRAWS {
        let own = Samples::drawn(50, 12, 2 * draw);
        let other = Samples::drawn(50, 12, 2 * draw + 1);
        let found = spectrum(&own, Some(&other), &plan, &mut |_| {}).unwrap();
        let trace = found.trace.unwrap();
        let ends = found
            .eigenvalues
            .iter()
            .map(|of| (of.value, of.sampling_se));
        let all = ends.chain([(trace.value, trace.sampling_se)]);
        for (k, (value, se)) in all.enumerate() {
            found_values[k].push(value);
            variances[k] += se.unwrap().powi(2) / DRAWS as f64;
        }
        for (sum, of) in held_out.iter_mut().zip(&found.eigenvalues) {
            *sum += of.held_out.unwrap().value / DRAWS as f64;
        }
    }
    for (values, variance) in found_values.iter().zip(&variances) {
        let mean = values.iter().sum::<f64>() / DRAWS as f64;
        let spread = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>();
        let ratio = (variance / (spread / (DRAWS - 1) as f64)).sqrt();
        assert!((ratio - 1.0).abs() < 0.12, "{ratio}");
    }
    // The ends are too far out on their own samples, and not on others.
    let mean = |k: usize| found_values[k].iter().sum::<f64>() / DRAWS as f64;
    assert!(mean(0) > held_out[0] && mean(1) < held_out[1]);
    assert!(held_out[0] <= SAMPLED[0] + 0.05 && held_out[1] >= SAMPLED[5] - 0.05);
}

#[test]
fn an_operator_without_groups_has_no_sampling_error() {
    let operator = Dense(symmetric(20, 1));
    let plan = SpectrumPlan {
        trace: 9,
        ..ends(2, 1, 20)
    };
    let found = found(&operator, &plan);
    assert!(
        found
            .eigenvalues
            .iter()
            .all(|of| of.sampling_se.is_none() && of.held_out.is_none())
    );
    assert_eq!(found.trace.unwrap().sampling_se, None);
    // Along its own vectors, an operator has its eigenvalues.
    let again = spectrum(&operator, Some(&operator), &plan, &mut |_| {}).unwrap();
    for of in again.eigenvalues {
        assert!((of.held_out.unwrap().value - of.value).abs() < CLOSE * 20.0);
    }
}

proptest! {
    /// All eigenvalues of a random symmetric matrix at any scale agree within 1e-10 of the largest.
    #[test]
    fn the_whole_spectrum_is_that_of_the_matrix(
        dim in 1_usize..25,
        seed in 0_u64..10_000,
        power in -8_i32..9,
        repeated in any::<bool>(),
    ) {
        let matrix = symmetric(dim, seed) * 10_f64.powi(power);
        let rounded: Vec<f64> = eigenvalues(&matrix);
        let rounded: Vec<f64> = rounded.iter().map(|v| (v / 10_f64.powi(power)).round()).collect();
        let matrix = if repeated { with_eigenvalues(&rounded, seed) } else { matrix };
        let exact = eigenvalues(&matrix);
        let largest = exact[0].abs().max(exact[dim - 1].abs());
        let found = found(&Dense(matrix), &ends(dim, dim, dim));
        let top = values(&found, End::Top);
        prop_assert_eq!(top.len(), dim);
        for (a, b) in top.iter().zip(&exact) {
            prop_assert!((a - b).abs() <= CLOSE * largest, "{:?} {:?}", top, exact);
        }
        for of in &found.eigenvalues {
            prop_assert!(of.residual <= CLOSE * largest, "{:?}", of);
        }
    }

    /// The weights from an orthonormal basis sum to 1.
    #[test]
    fn weights_are_a_distribution(dim in 1_usize..40, steps in 1_usize..50, seed in 0_u64..10_000) {
        let density = quadrature(&Dense(symmetric(dim, seed)), 2, steps);
        prop_assert!((density.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        prop_assert!(density.weights.iter().all(|weight| *weight >= 0.0));
        prop_assert!(density.values.iter().all(|value| value.is_finite()));
    }
}
