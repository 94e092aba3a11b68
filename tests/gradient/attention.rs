//! Attention as one operator.

use landscape::graph::build::{float, int};

use crate::case::{Case, Input, moving, numbers};

/// Batch of 2, sizes 4 of queries and keys and 3 of values.
fn by_heads(queries: [usize; 2], keys: [usize; 2]) -> Case {
    let inputs = vec![
        moving(&[2, queries[0], queries[1], 4], 1),
        moving(&[2, keys[0], keys[1], 4], 2),
        moving(&[2, keys[0], keys[1], 3], 3),
    ];
    Case::new("Attention", inputs).opset(23)
}

/// The same with the heads' sizes in one axis.
fn by_rows(queries: [usize; 2], keys: [usize; 2]) -> Case {
    let inputs = vec![
        moving(&[2, queries[1], queries[0] * 4], 1),
        moving(&[2, keys[1], keys[0] * 4], 2),
        moving(&[2, keys[1], keys[0] * 3], 3),
    ];
    Case::new("Attention", inputs)
        .opset(23)
        .with(int("q_num_heads", queries[0] as i64))
        .with(int("kv_num_heads", keys[0] as i64))
}

fn masked(mut case: Case, mask: Input) -> Case {
    case.inputs.push(mask);
    case
}

#[test]
fn heads_in_an_axis_of_their_own_or_side_by_side() {
    by_heads([2, 3], [2, 5]).check();
    by_rows([2, 3], [2, 5]).check();
    by_rows([1, 3], [1, 3]).check();
    by_heads([2, 3], [2, 3]).with(float("scale", 0.3)).check();
}

#[test]
fn heads_of_queries_share_those_of_keys() {
    by_heads([4, 3], [2, 5]).check();
    by_rows([4, 3], [2, 5]).check();
    by_heads([3, 2], [1, 4]).with(int("is_causal", 1)).check();
}

#[test]
fn no_query_sees_what_comes_later() {
    by_heads([2, 4], [2, 4]).with(int("is_causal", 1)).check();
    by_rows([4, 3], [2, 5]).with(int("is_causal", 1)).check();
}

#[test]
fn masks_of_numbers_are_added() {
    for shape in [vec![3, 5], vec![1, 2, 3, 5], vec![2, 2, 3, 5]] {
        masked(by_heads([2, 3], [2, 5]), moving(&shape, 4)).check();
    }
    masked(by_rows([4, 3], [2, 5]), moving(&[4, 3, 5], 4)).check();
    masked(by_heads([2, 3], [2, 5]), moving(&[3, 5], 4))
        .with(int("is_causal", 1))
        .check();
    let mut mask = numbers(&[3, 5], 4);
    // Some keys for nobody in a row, then a row without any.
    mask[2] = f64::NEG_INFINITY;
    mask[5..10].fill(f64::NEG_INFINITY);
    masked(by_heads([2, 3], [2, 5]), Input::Fixed(vec![3, 5], mask)).check();
}

#[test]
fn masks_of_truth_values_leave_out() {
    let mut mask: Vec<bool> = (0..15).map(|k| k % 4 != 1).collect();
    masked(
        by_heads([2, 3], [2, 5]),
        Input::Bools(vec![3, 5], mask.clone()),
    )
    .check();
    mask[5..10].fill(false);
    let mask = Input::Bools(vec![1, 1, 3, 5], mask);
    masked(by_rows([2, 3], [2, 5]), mask.clone()).check();
    masked(by_heads([4, 3], [2, 5]), mask)
        .with(int("is_causal", 1))
        .check();
}

#[test]
fn caches_caps_and_further_results_are_refused() {
    let message = by_heads([2, 3], [2, 3])
        .with(float("softcap", 2.0))
        .refused();
    assert!(message.contains("with softcap"), "{message}");
    let past = |size| Input::Fixed(vec![2, 2, 1, size], vec![0.5; 4 * size]);
    let mut cached = by_heads([2, 3], [2, 3]);
    cached.inputs.extend([Input::Absent, past(4), past(3)]);
    let message = cached.outputs(3).refused();
    assert!(message.contains("with past keys and values"), "{message}");
    let message = by_heads([2, 3], [2, 3]).outputs(4).refused();
    assert!(
        message.contains("with other results than the first"),
        "{message}"
    );
}
