//! Tests of mixes.

use super::*;
use crate::space::testing::{pool, random_pool};

#[test]
fn a_unit_mix_is_the_member_to_the_bit_even_beside_nan() {
    let pool = pool(&[&[f64::NAN, f64::NAN], &[0.1, -0.0], &[f64::INFINITY, 1.0]]);
    let mut out = [0.0_f32; 2];
    let mut scratch = Scratch::default();
    let mix = Mix::unit(1, 3);
    mix_into(&pool, 0, &mix, MixOut::F32(&mut out), &mut scratch);
    assert_eq!(out[0].to_bits(), 0.1_f32.to_bits());
    assert_eq!(out[1].to_bits(), (-0.0_f32).to_bits());
}

#[test]
fn bytes_are_those_of_the_member_that_is_alone() {
    // Odd members hold the matrix transposed.
    let pool = random_pool(3, &[vec![40, 33], vec![7]], 3);
    for member in 0..3 {
        let mix = Mix::unit(member, 3);
        for index in 0..2 {
            let source = &pool.members[member].sources[index];
            let (dtype, turned) = (source.tensor.dtype, source.transposed);
            let bytes = mixed_bytes(&pool, index, &mix, dtype, turned);
            assert_eq!(bytes, source.tensor.bytes);
        }
    }
}

#[test]
fn what_is_equal_in_all_members_stays_as_it_is() {
    let mut pool = pool(&[&[0.1], &[0.1], &[0.1]]);
    pool.parameters[0].frozen = true;
    let mix = Mix::new(vec![0.0, 0.7, 0.3 + 1e-12]);
    let bytes = mixed_bytes(&pool, 0, &mix, Dtype::F64, false);
    assert_eq!(bytes, 0.1_f64.to_le_bytes().to_vec());
}

#[test]
fn a_mix_is_the_sum_rounded_once() {
    let pool = random_pool(3, &[vec![70, 33], vec![5000]], 7);
    let mix = Mix::new(vec![-0.3, 0.6, 0.7]);
    let mut scratch = Scratch::default();
    for (index, parameter) in pool.parameters.iter().enumerate() {
        let mut out = vec![0.0_f32; parameter.len()];
        mix_into(&pool, index, &mix, MixOut::F32(&mut out), &mut scratch);
        let member = |m: usize| decode::values(&pool.members[m].sources[index]);
        let (a, b, c) = (member(0), member(1), member(2));
        for k in 0..parameter.len() {
            let sum = -0.3 * a[k] + 0.6 * b[k] + 0.7 * c[k];
            assert_eq!(out[k], sum as f32);
        }
    }
}

#[test]
fn each_parameter_may_have_coefficients_of_its_own() {
    let pool = random_pool(3, &[vec![5], vec![4]], 7);
    let rows = vec![vec![0.0, 0.25, 0.75], vec![0.0, 1.0, 0.0]];
    let mix = Mix::by_parameter(rows.clone());
    assert_eq!((mix.shared(), mix.lead()), (None, 1));
    assert_eq!(mix.mean(), [0.0, 0.625, 0.375]);
    let mut scratch = Scratch::default();
    for (index, row) in rows.into_iter().enumerate() {
        let len = pool.parameters[index].len();
        let (mut own, mut alone) = (vec![0.0; len], vec![0.0; len]);
        mix_into(&pool, index, &mix, MixOut::F64(&mut own), &mut scratch);
        let row = Mix::new(row);
        mix_into(&pool, index, &row, MixOut::F64(&mut alone), &mut scratch);
        assert_eq!(own, alone);
    }
}

#[test]
fn halves_are_rounded_once() {
    // Just above the tie between 1 and the next half: f32 would make it the tie.
    let tie = 1.0 + 2.0_f64.powi(-11);
    let above = tie + 2.0_f64.powi(-40);
    assert_eq!(above as f32, tie as f32);
    assert_eq!(f16::from_f32(to_odd(tie)), f16::ONE);
    assert_eq!(
        f16::from_f32(to_odd(above)),
        f16::from_f32(1.0 + 2.0_f32.powi(-10))
    );
    assert_eq!(
        f16::from_f32(to_odd(-above)),
        f16::from_f32(-1.0 - 2.0_f32.powi(-10))
    );
    let brain = 1.0 + 2.0_f64.powi(-8) - 2.0_f64.powi(-40);
    assert_eq!(bf16::from_f32(to_odd(brain)), bf16::ONE);
    assert_eq!((to_odd(0.0), to_odd(0.1_f32.into())), (0.0, 0.1));
    assert!(to_odd(1e-60) > 0.0 && to_odd(1e-60) < 1e-40);
}

#[test]
fn statistics_that_were_reestimated_replace_those_of_the_members() {
    let pool = random_pool(2, &[vec![3], vec![2]], 3);
    let mix = Mix::new(vec![0.5, 0.5]);
    let found = Reestimated([(0, vec![0.1, 2.0, -3.0])].into());
    let own = mix.with_statistics(Arc::new(found));
    let mut out = [0.0_f32; 3];
    let mut scratch = Scratch::default();
    mix_into(&pool, 0, &own, MixOut::F32(&mut out), &mut scratch);
    assert_eq!(out, [0.1, 2.0, -3.0]);
    let bytes: Vec<u8> = out.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(mixed_bytes(&pool, 0, &own, Dtype::F32, false), bytes);
    let [one, other] = [&own, &mix].map(|mix| mixed_bytes(&pool, 1, mix, Dtype::F32, false));
    assert_eq!(one, other);
}

#[test]
fn variances_stay_positive_outside_the_hull_and_are_averages_inside() {
    let mut pool = pool(&[&[f64::NAN], &[1.0], &[4.0]]);
    pool.parameters[0].role = ParameterRole::Variance;
    let value = |a: f64, b: f64| {
        let mix = Mix::new(vec![0.0, a, b]);
        let (mut out, mut scratch) = ([0.0_f64], Scratch::default());
        mix_into(&pool, 0, &mix, MixOut::F64(&mut out), &mut scratch);
        let bytes = mixed_bytes(&pool, 0, &mix, Dtype::F64, false);
        assert_eq!(bytes, out[0].to_le_bytes().to_vec());
        out[0]
    };
    assert_eq!(
        [value(1.0, 0.0), value(0.5, 0.5), value(0.0, 1.0)],
        [1.0, 2.5, 4.0]
    );
    assert!((value(-0.5, 1.5) - 8.0).abs() < 1e-12);
    assert!((value(2.0, -1.0) - 0.25).abs() < 1e-12);
    // What is equal in all members is left as it is.
    pool.parameters[0].frozen = true;
    let mix = Mix::new(vec![0.0, 2.0, -1.0]);
    let bytes = mixed_bytes(&pool, 0, &mix, Dtype::F64, false);
    assert_eq!(bytes, 1.0_f64.to_le_bytes().to_vec());
}

#[test]
#[should_panic(expected = "sum to")]
fn coefficients_sum_to_one() {
    let _ = Mix::new(vec![0.5, 0.6]);
}
