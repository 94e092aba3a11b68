//! What is left of a graph once its outputs are known.

use std::collections::HashSet;

use landscape::graph::build::ints;
use landscape::graph::gradient::giving;

use crate::case::{Case, Input, moving, numbers};

#[test]
fn no_node_is_left_whose_results_nobody_reads() {
    let inputs = vec![
        moving(&[2, 3, 4, 4], 1),
        moving(&[3], 2),
        moving(&[3], 3),
        moving(&[3], 4),
        Input::Moving(vec![3], vec![0.5, 1.0, 1.5]),
    ];
    let case = Case::new("BatchNormalization", inputs).then("Relu", Vec::new());
    let written = case.differentiated().unwrap();
    let all = written.model.graph.as_ref().unwrap().node.len();
    // The gradient in the bias alone.
    let outputs = [written.gradients[2].clone()];
    let graph = giving(written.model, &outputs).graph.unwrap();
    assert!(graph.node.len() < all);
    let read = graph.node.iter().flat_map(|node| &node.input);
    let read: HashSet<&String> = read.chain(&outputs).collect();
    for node in &graph.node {
        assert!(
            node.output.iter().any(|name| read.contains(name)),
            "{node:?}"
        );
    }
}

#[test]
fn a_pool_tells_its_places_only_to_the_gradient() {
    let pool = vec![ints("kernel_shape", &[3, 3])];
    let outputs_of_pool = |x: Input| {
        let case = Case::new("Tanh", vec![x]).then("MaxPool", pool.clone());
        let written = case.differentiated().unwrap();
        let outputs = [&["total".to_string()], &written.gradients[..]].concat();
        let graph = giving(written.model, &outputs).graph.unwrap();
        let pool = graph.node.iter().find(|node| node.op_type() == "MaxPool");
        pool.unwrap().output.len()
    };
    let shape = [1, 2, 5, 5];
    assert_eq!(outputs_of_pool(moving(&shape, 1)), 2);
    let fixed = Input::Fixed(shape.to_vec(), numbers(&shape, 1));
    assert_eq!(outputs_of_pool(fixed), 1);
}
