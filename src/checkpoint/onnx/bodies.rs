//! The graphs inside nodes: the branches of an `If`, the body of a `Loop`. They may read values of
//! the enclosing graph, their *captures*, without listing them among the node's inputs.

use std::collections::{HashMap, HashSet};

use indexmap::IndexSet;

use super::dtype;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The graphs that an attribute holds.
pub fn subgraphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.iter().chain(&attribute.graphs)
}

/// The graphs inside a node.
pub fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(subgraphs)
}

/// The graphs inside a node, to be changed.
pub fn bodies_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    let attributes = node.attribute.iter_mut();
    attributes.flat_map(|it| it.g.iter_mut().chain(&mut it.graphs))
}

/// The values of the enclosing graph that the graphs inside a node read, in the order of their
/// first use.
pub fn captures(node: &NodeProto) -> IndexSet<&str> {
    let mut found = IndexSet::new();
    for body in bodies(node) {
        let own = own(body);
        let mut within: IndexSet<&str> = IndexSet::new();
        for node in &body.node {
            within.extend(node.input.iter().map(String::as_str));
            within.extend(captures(node));
        }
        within.extend(body.output.iter().map(|output| output.name()));
        let free = within.into_iter().filter(|name| !name.is_empty());
        found.extend(free.filter(|name| !own.contains(name)));
    }
    found
}

/// Lets the graphs inside a node read another value of the enclosing graph.
pub fn redirect_capture(node: &mut NodeProto, from: &str, to: &str) {
    for body in bodies_mut(node) {
        rename(body, from, to);
    }
}

/// Renames a value that a graph reads and does not define.
fn rename(graph: &mut GraphProto, from: &str, to: &str) {
    if own(graph).contains(from) {
        return;
    }
    for node in &mut graph.node {
        let inputs = node.input.iter_mut();
        inputs
            .filter(|input| *input == from)
            .for_each(|input| *input = to.to_string());
        redirect_capture(node, from, to);
    }
    for output in graph.output.iter_mut().filter(|it| it.name() == from) {
        output.name = Some(to.to_string());
    }
}

/// The names that a graph itself defines.
fn own(graph: &GraphProto) -> HashSet<&str> {
    let inputs = graph.input.iter().map(|input| input.name());
    let initializers = graph.initializer.iter().map(|tensor| tensor.name());
    let made = graph.node.iter().flat_map(|node| &node.output);
    inputs
        .chain(initializers)
        .chain(made.map(String::as_str))
        .collect()
}

/// Moves the float tensors of the graphs inside nodes to the graph itself, so that all tensors that
/// can be averaged are in one place. The graph computes the same.
pub fn lift(graph: &mut GraphProto) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    count(graph, &mut uses);
    let mut lifted = Vec::new();
    for node in &mut graph.node {
        lift_from(node, &mut uses, &mut lifted);
    }
    graph.initializer.extend(lifted);
}

/// Counts how often each name is defined, in whatever graph.
fn count(graph: &GraphProto, uses: &mut HashMap<String, usize>) {
    for name in own(graph) {
        *uses.entry(name.to_string()).or_default() += 1;
    }
    for body in graph.node.iter().flat_map(bodies) {
        count(body, uses);
    }
}

fn lift_from(
    node: &mut NodeProto,
    uses: &mut HashMap<String, usize>,
    lifted: &mut Vec<TensorProto>,
) {
    for body in bodies_mut(node) {
        let inputs = body.input.iter().map(|input| input.name().to_string());
        let inputs: HashSet<String> = inputs.collect();
        let moves = |tensor: &mut TensorProto| {
            dtype(tensor.data_type()).is_float() && !inputs.contains(tensor.name())
        };
        let moved: Vec<TensorProto> = body.initializer.extract_if(.., moves).collect();
        for mut tensor in moved {
            let name = tensor.name().to_string();
            if uses.get(&name).copied().unwrap_or(0) > 1 {
                let mut numbered = (2..).map(|number| format!("{name}.{number}"));
                let free = numbered.find(|name| !uses.contains_key(name));
                let free = free.unwrap_or_default();
                rename(body, &name, &free);
                uses.insert(free.clone(), 1);
                tensor.name = Some(free);
            }
            lifted.push(tensor);
        }
        for node in &mut body.node {
            lift_from(node, uses, lifted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{DataType, ValueInfoProto};

    fn node(op_type: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: Some(op_type.to_string()),
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.to_string()],
            ..NodeProto::default()
        }
    }

    fn tensor(name: &str, dtype: DataType) -> TensorProto {
        TensorProto {
            name: Some(name.to_string()),
            data_type: Some(dtype as i32),
            ..TensorProto::default()
        }
    }

    /// `z = op(x, w)` over a float w and an integer k of its own.
    fn body(op_type: &str) -> GraphProto {
        GraphProto {
            node: vec![node(op_type, &["x", "w", "k"], "z")],
            initializer: vec![tensor("w", DataType::Float), tensor("k", DataType::Int64)],
            output: vec![ValueInfoProto {
                name: Some("z".to_string()),
                ..ValueInfoProto::default()
            }],
            ..GraphProto::default()
        }
    }

    fn branch(bodies: Vec<GraphProto>) -> NodeProto {
        let mut branch = node("If", &["c"], "y");
        branch.attribute = bodies
            .into_iter()
            .map(|body| AttributeProto {
                g: Some(body),
                ..AttributeProto::default()
            })
            .collect();
        branch
    }

    #[test]
    fn tensors_of_two_branches_become_two_tensors_of_the_graph() {
        let mut graph = GraphProto {
            node: vec![branch(vec![body("Add"), body("Sub")])],
            ..GraphProto::default()
        };
        assert_eq!(captures(&graph.node[0]), IndexSet::from(["x"]));
        lift(&mut graph);
        let names: Vec<&str> = graph.initializer.iter().map(|it| it.name()).collect();
        assert_eq!(names, ["w.2", "w.3"]);
        let read = captures(&graph.node[0]);
        assert_eq!(read, IndexSet::from(["x", "w.2", "w.3"]));
        let left: Vec<&str> = bodies(&graph.node[0])
            .flat_map(|body| &body.initializer)
            .map(|it| it.name())
            .collect();
        assert_eq!(left, ["k", "k"]);
    }

    #[test]
    fn a_capture_is_redirected_where_it_is_free_however_deep() {
        let mut shadowed = body("Mul");
        shadowed.input.push(ValueInfoProto {
            name: Some("v".to_string()),
            ..ValueInfoProto::default()
        });
        shadowed.node[0].input[0] = "v".to_string();
        let mut deep = body("Add");
        deep.node[0].input[0] = "v".to_string();
        let mut outer = body("Add");
        outer.node.push(branch(vec![deep, shadowed]));
        let mut node = branch(vec![outer]);
        redirect_capture(&mut node, "v", "u");
        assert_eq!(captures(&node), IndexSet::from(["x", "c", "u"]));
    }
}
