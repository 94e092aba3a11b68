//! Products of matrices.

use landscape::graph::build::{float, int, word};
use proptest::prelude::*;

use crate::case::{Case, moving};

/// Shapes of a product: leading axes that are broadcast to each other, then [m, k] and [k, n].
fn matrices() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let lead = proptest::collection::vec((1_usize..4, 0_u8..3), 0..3);
    (lead, 0_usize..3, 1_usize..4, 1_usize..4, 1_usize..4).prop_map(|(lead, cut, m, k, n)| {
        let side = |one: u8| {
            let sizes = lead.iter();
            sizes.map(move |&(size, which)| if which == one { 1 } else { size })
        };
        let a = side(1).chain([m, k]).collect();
        let b = side(2).skip(cut).chain([k, n]).collect();
        (a, b)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn products_with_leading_axes_that_are_broadcast((a, b) in matrices(), seed in 0_u64..1000) {
        Case::new("MatMul", vec![moving(&a, seed), moving(&b, seed + 1)]).check();
    }
}

#[test]
fn products_with_vectors() {
    for (a, b) in [
        (vec![4], vec![4]),
        (vec![4], vec![4, 3]),
        (vec![4], vec![2, 4, 3]),
        (vec![3, 4], vec![4]),
        (vec![2, 3, 4], vec![4]),
        (vec![2, 3, 4], vec![4, 5]),
        (vec![3, 4], vec![2, 4, 5]),
        (vec![5, 1, 3, 4], vec![2, 4, 2]),
    ] {
        Case::new("MatMul", vec![moving(&a, 1), moving(&b, 2)]).check();
    }
}

#[test]
fn matrix_products_with_all_transpositions_and_terms() {
    let (m, k, n) = (2, 3, 4);
    let turned = |turn: i64, rows: usize, columns: usize| match turn {
        0 => vec![rows, columns],
        _ => vec![columns, rows],
    };
    for (turn_a, turn_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let terms = [
            None,
            Some(vec![]),
            Some(vec![n]),
            Some(vec![1, n]),
            Some(vec![m, 1]),
            Some(vec![m, n]),
        ];
        for term in terms {
            let mut inputs = vec![
                moving(&turned(turn_a, m, k), 1),
                moving(&turned(turn_b, k, n), 2),
            ];
            inputs.extend(term.map(|shape| moving(&shape, 3)));
            Case::new("Gemm", inputs)
                .with(int("transA", turn_a))
                .with(int("transB", turn_b))
                .with(float("alpha", 0.7))
                .with(float("beta", -1.3))
                .check();
        }
    }
    let plain = vec![moving(&[m, k], 1), moving(&[k, n], 2), moving(&[n], 3)];
    Case::new("Gemm", plain).opset(13).check();
}

fn einsum(equation: &str, shapes: &[&[usize]]) -> Case {
    let inputs = shapes.iter().enumerate();
    let inputs = inputs.map(|(slot, shape)| moving(shape, slot as u64 + 1));
    Case::new("Einsum", inputs.collect()).with(word("equation", equation))
}

#[test]
fn sums_of_products_over_letters() {
    einsum("ij,jk->ik", &[&[2, 3], &[3, 4]]).check();
    einsum("bhid, bhjd -> bhij", &[&[2, 2, 3, 4], &[2, 2, 5, 4]]).check();
    einsum("bij,kj->bki", &[&[2, 3, 4], &[5, 4]]).check();
    einsum("i,i->", &[&[4], &[4]]).check();
    einsum("i,j->ij", &[&[3], &[4]]).check();
    einsum("ij,jk,kl->il", &[&[2, 3], &[3, 2], &[2, 3]]).check();
    einsum("ijk->kij", &[&[2, 3, 4]]).check();
}

#[test]
fn letters_of_one_operand_are_summed() {
    einsum("ij->j", &[&[3, 4]]).check();
    einsum("ij->", &[&[3, 4]]).check();
    einsum("ij,k->i", &[&[3, 4], &[2]]).check();
}

#[test]
fn operands_of_one_element_along_a_letter_are_broadcast() {
    einsum("ij,jk->ik", &[&[2, 1], &[3, 4]]).check();
    einsum("bij,bjk->bik", &[&[1, 2, 3], &[2, 3, 4]]).check();
}

#[test]
fn ellipses_diagonals_and_implied_results_are_refused() {
    let refused = |equation: &str, shapes: &[&[usize]]| einsum(equation, shapes).refused();
    let ellipsis = refused("...ij,jk->...ik", &[&[2, 2, 3], &[3, 4]]);
    assert!(ellipsis.contains("Einsum node `operator`"), "{ellipsis}");
    assert!(ellipsis.contains("ellipsis"), "{ellipsis}");
    let diagonal = refused("ii->i", &[&[3, 3]]);
    assert!(diagonal.contains("diagonal"), "{diagonal}");
    let implied = refused("ij,jk", &[&[2, 3], &[3, 4]]);
    assert!(implied.contains("without `->`"), "{implied}");
}
