//! The statistics graph: what batch norm sees in training mode.
//!
//! Every BatchNormalization in inference mode whose running statistics are tensors of the
//! checkpoints is replaced by nodes that compute the batch's own mean m and biased variance v for
//! each channel and normalize with them, (x − m)·γ/√(v + ε) + β. So the layers after it see what
//! they would see in training, and one pass gives the statistics of all layers. m and v are outputs,
//! and so is the number of elements of x, from which the unbiased variance follows.
//!
//! ONNX Runtime's builds for inference cannot run batch norm in training mode, hence the nodes. All
//! of them exist in every version of the standard operators from 8 on; `ReduceMean` takes its axes as
//! an input from 18 on. Means over the batch are taken in float64, those over the places of a sample
//! before that in the network's type: sums of millions of float32 would lose digits.

use std::collections::{HashMap, HashSet};

use super::build::{ints, node};
use super::editor::{FreshNames, GraphEditor, is_standard, named};
use super::names::{node_reads, outputs};
use crate::checkpoint::onnx::proto::{
    DataType, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

/// A batch norm whose statistics are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Name of the node.
    pub node: String,
    /// The initializers that hold its running mean and variance.
    pub running: [String; 2],
    /// Outputs of the graph: mean and biased variance, f64 [1, channels, 1].
    pub computed: [String; 2],
    /// Output of the graph: number of elements of its input in the batch, i64.
    pub elements: String,
}

/// A graph that computes the statistics of a batch.
#[derive(Debug)]
pub struct StatisticsGraph {
    /// The graph, from the network's inputs to the statistics.
    pub model: ModelProto,
    /// The layers, in the order of the nodes.
    pub layers: Vec<Layer>,
    /// Names of the batch norms of the data that keep their statistics, which are constants.
    pub kept: Vec<String>,
}

/// Rewrites a network to compute the statistics of its batch norms: those that read the data from
/// `inputs` and whose statistics are among the initializers `running`.
pub fn rewrite(model: ModelProto, running: &HashSet<String>, inputs: &[String]) -> StatisticsGraph {
    let mut editor = GraphEditor::open(model);
    let types = editor.graph().initializer.iter();
    let types = types.map(|tensor| (tensor.name().to_string(), tensor.data_type()));
    let mut writer = Writer {
        opset: editor.opset().unwrap_or(1),
        names: editor.fresh_names("landscape.batch"),
        types: types.collect(),
        constants: Vec::new(),
        nodes: Vec::new(),
    };
    let mut live: HashSet<String> = inputs.iter().cloned().collect();
    let (mut layers, mut kept) = (Vec::new(), Vec::new());
    for node in editor.take_nodes() {
        let is_live = node_reads(&node).iter().any(|value| live.contains(*value));
        if is_live {
            live.extend(outputs(&node).map(String::from));
        }
        let is_norm = node.op_type() == "BatchNormalization" && is_standard(node.domain());
        if !(is_norm && is_live && node.input.len() == 5) {
            writer.nodes.push(node);
        } else if node.input[3..].iter().all(|name| running.contains(name)) {
            layers.push(writer.layer(&node));
        } else {
            kept.push(node.name().to_string());
            writer.nodes.push(node);
        }
    }
    editor.append_nodes(writer.nodes);
    editor.add_initializers(writer.constants);
    editor.set_outputs(layers.iter().flat_map(described_outputs));
    editor.prune(&HashSet::new());
    StatisticsGraph {
        model: editor.finish(),
        layers,
        kept,
    }
}

fn described_outputs(layer: &Layer) -> [ValueInfoProto; 3] {
    // ONNX Runtime infers types and shapes.
    let [mean, variance] = &layer.computed;
    [named(mean), named(variance), named(&layer.elements)]
}

/// Writes the nodes in the order of the graph.
struct Writer {
    opset: i64,
    names: FreshNames,
    /// Element types of the initializers.
    types: HashMap<String, i32>,
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

impl Writer {
    /// Adds a node and returns its output.
    fn add(&mut self, op_type: &str, input: &[&str], attributes: &[(&str, i64)]) -> String {
        let output = self.names.next_name();
        self.nodes.push(node(op_type, input, &output, attributes));
        output
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = self.names.next_name();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constants.push(TensorProto {
            name: Some(name.clone()),
            dims: vec![values.len() as i64],
            data_type: Some(DataType::Int64 as i32),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        });
        name
    }

    fn number(&mut self, value: f64) -> String {
        let name = self.names.next_name();
        self.constants.push(TensorProto {
            name: Some(name.clone()),
            data_type: Some(DataType::Double as i32),
            raw_data: Some(value.to_le_bytes().to_vec().into()),
            ..TensorProto::default()
        });
        name
    }

    fn cast(&mut self, value: &str, to: DataType) -> String {
        self.add("Cast", &[value], &[("to", to as i64)])
    }

    /// The mean over one axis, which stays with length 1.
    fn mean(&mut self, value: &str, axis: usize) -> String {
        if self.opset >= 18 {
            let axes = self.integers(&[axis as i64]);
            return self.add("ReduceMean", &[value, &axes], &[("keepdims", 1)]);
        }
        let output = self.add("ReduceMean", &[value], &[("keepdims", 1)]);
        if let Some(node) = self.nodes.last_mut() {
            node.attribute.push(ints("axes", &[axis]));
        }
        output
    }

    /// The mean for each channel of [batch, channels, places], f64 [1, channels, 1].
    fn channel_mean(&mut self, value: &str) -> String {
        let of_sample = self.mean(value, 2);
        let wide = self.cast(&of_sample, DataType::Double);
        self.mean(&wide, 0)
    }

    /// A vector of channels as [1, channels, 1].
    fn along_channels(&mut self, value: &str, dtype: DataType) -> String {
        let typed = self.cast(value, dtype);
        let shape = self.integers(&[1, -1, 1]);
        self.add("Reshape", &[&typed, &shape], &[])
    }

    /// The type in which a layer is computed: that of its statistics, at least float32.
    fn precision(&self, running_mean: &str) -> DataType {
        match self.types.get(running_mean) {
            Some(&found) if found == DataType::Double as i32 => DataType::Double,
            _ => DataType::Float,
        }
    }

    /// Replaces a batch norm.
    fn layer(&mut self, norm: &NodeProto) -> Layer {
        let [x, scale, bias, running_mean, running_variance] =
            [0, 1, 2, 3, 4].map(|slot| norm.input[slot].clone());
        let dtype = self.precision(&running_mean);
        // A network may have batch norm on [batch, channels] and on images.
        let shape = self.integers(&[0, 0, -1]);
        let flat = self.add("Reshape", &[&x, &shape], &[]);
        let flat = self.cast(&flat, dtype);
        let elements = self.add("Size", &[&x], &[]);
        let mean = self.channel_mean(&flat);
        let own_mean = self.cast(&mean, dtype);
        let centred = self.add("Sub", &[&flat, &own_mean], &[]);
        let squares = self.add("Mul", &[&centred, &centred], &[]);
        let variance = self.channel_mean(&squares);
        let epsilon = self.number(epsilon(norm));
        let sum = self.add("Add", &[&variance, &epsilon], &[]);
        let root = self.add("Sqrt", &[&sum], &[]);
        let wide_scale = self.along_channels(&scale, DataType::Double);
        let factor = self.add("Div", &[&wide_scale, &root], &[]);
        let factor = self.cast(&factor, dtype);
        let scaled = self.add("Mul", &[&centred, &factor], &[]);
        let bias = self.along_channels(&bias, dtype);
        let shifted = self.add("Add", &[&scaled, &bias], &[]);
        self.like_input(&shifted, &x, &scale, norm);
        Layer {
            node: norm.name().to_string(),
            running: [running_mean, running_variance],
            computed: [mean, variance],
            elements,
        }
    }

    /// Gives a value the shape and type of a batch norm's input `x`, and the name of its output.
    fn like_input(&mut self, value: &str, x: &str, scale: &str, norm: &NodeProto) {
        let shape = self.add("Shape", &[x], &[]);
        let shaped = self.add("Reshape", &[value, &shape], &[]);
        // From version 15 on, scale and input may differ in type.
        let last = if self.opset >= 15 {
            self.add("CastLike", &[&shaped, x], &[])
        } else {
            let own = self.types.get(scale).copied();
            let own = own.unwrap_or(DataType::Float as i32);
            self.add("Cast", &[&shaped], &[("to", i64::from(own))])
        };
        if let (Some(node), Some(output)) = (self.nodes.last_mut(), norm.output.first()) {
            debug_assert_eq!(node.output, [last]);
            node.output = vec![output.clone()];
        }
    }
}

fn epsilon(norm: &NodeProto) -> f64 {
    let mut attributes = norm.attribute.iter();
    let given = attributes.find(|attribute| attribute.name() == "epsilon");
    given
        .and_then(|attribute| attribute.f)
        .map_or(1e-5, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::onnx::proto::{GraphProto, OperatorSetIdProto};

    /// x → batch norm `first` → batch norm `second`, whose statistics are constants → y.
    fn network(opset: i64) -> ModelProto {
        let norm = |name: &str, x: &str, y: &str| {
            let statistics = ["g", "b"].map(str::to_string).into_iter();
            let running = ["mean", "var"].map(|it| format!("{name}.{it}"));
            let inputs = std::iter::once(x.to_string())
                .chain(statistics)
                .chain(running);
            NodeProto {
                name: Some(name.to_string()),
                op_type: Some("BatchNormalization".to_string()),
                input: inputs.collect(),
                output: vec![y.to_string()],
                ..NodeProto::default()
            }
        };
        ModelProto {
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(opset),
            }],
            graph: Some(GraphProto {
                node: vec![norm("first", "x", "h"), norm("second", "h", "y")],
                input: vec![named("x")],
                output: vec![named("y")],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    #[test]
    fn layers_are_replaced_and_those_with_constants_are_told() {
        let running = ["first.mean", "first.var"].map(str::to_string);
        let running = HashSet::from(running);
        for opset in [11, 13, 17, 18, 22] {
            let found = rewrite(network(opset), &running, &["x".to_string()]);
            assert_eq!(found.kept, ["second"]);
            assert_eq!(found.layers.len(), 1);
            let graph = found.model.graph.unwrap();
            let outputs: Vec<&str> = graph.output.iter().map(|it| it.name()).collect();
            let layer = &found.layers[0];
            let [mean, variance] = &layer.computed;
            assert_eq!(outputs, [mean, variance, &layer.elements]);
            // What only the last layer needs is gone.
            let types: Vec<&str> = graph.node.iter().map(NodeProto::op_type).collect();
            assert!(!types.contains(&"BatchNormalization") && !types.contains(&"Sqrt"));
            let reduce = graph.node.iter().find(|it| it.op_type() == "ReduceMean");
            let reduce = reduce.unwrap();
            let by_input = reduce.input.len() == 2;
            assert_eq!(by_input, opset >= 18);
            let names: Vec<&str> = reduce.attribute.iter().map(|it| it.name()).collect();
            assert_eq!(names.contains(&"axes"), opset < 18);
        }
    }

    #[test]
    fn what_does_not_read_the_data_is_left_alone() {
        let running = ["first.mean", "first.var"].map(str::to_string);
        let found = rewrite(network(17), &running.into(), &["other".to_string()]);
        assert_eq!((found.layers.len(), found.kept.len()), (0, 0));
    }
}
