//! A graph of one operator, run and differentiated.

use std::collections::HashSet;

use landscape::checkpoint::onnx::proto::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};
use landscape::evaluate::runtime::Runtime;
use landscape::graph::build::described;
use landscape::graph::build::node;
use landscape::graph::gradient::loss::values;
use landscape::graph::gradient::values::Value;
use landscape::graph::gradient::widen::widened;
use landscape::graph::gradient::{Differentiated, differentiate, giving, prepared};
use ort::value::{DynValue, Tensor};

use crate::run::{run, run_seen, session};

/// An input of the operator.
#[derive(Debug, Clone)]
pub enum Input {
    /// Numbers that the gradient is taken in.
    Moving(Vec<usize>, Vec<f64>),
    /// Numbers that it is not taken in.
    Fixed(Vec<usize>, Vec<f64>),
    /// Integers, known when the graph is written.
    Ints(Vec<usize>, Vec<i64>),
    /// Truth values.
    Bools(Vec<usize>, Vec<bool>),
    /// Left out.
    Absent,
}

/// One operator with its inputs.
#[derive(Debug, Clone)]
pub struct Case {
    pub op_type: &'static str,
    pub inputs: Vec<Input>,
    pub attributes: Vec<AttributeProto>,
    /// How many outputs it has; all are weighed.
    pub outputs: usize,
    pub opset: i64,
    /// Operators of one input that its first output goes through, one after the other.
    pub then: Vec<(&'static str, Vec<AttributeProto>)>,
}

impl Case {
    pub fn new(op_type: &'static str, inputs: Vec<Input>) -> Self {
        Self {
            op_type,
            inputs,
            attributes: Vec::new(),
            outputs: 1,
            opset: 20,
            then: Vec::new(),
        }
    }

    /// Another operator behind it.
    pub fn then(mut self, op_type: &'static str, attributes: Vec<AttributeProto>) -> Self {
        self.then.push((op_type, attributes));
        self
    }

    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attributes.push(attribute);
        self
    }

    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    pub fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }

    fn name(slot: usize) -> String {
        format!("x{slot}")
    }

    /// The moving inputs by slot.
    fn moving(&self) -> Vec<(usize, &Vec<usize>, &Vec<f64>)> {
        let inputs = self.inputs.iter().enumerate();
        inputs
            .filter_map(|(slot, input)| match input {
                Input::Moving(shape, values) => Some((slot, shape, values)),
                _ => None,
            })
            .collect()
    }

    /// The operator alone, its outputs `y0`, `y1`, ….
    fn forward(&self) -> ModelProto {
        let mut graph = GraphProto {
            name: Some("case".to_string()),
            ..GraphProto::default()
        };
        let mut names = Vec::new();
        for (slot, input) in self.inputs.iter().enumerate() {
            let name = Self::name(slot);
            match input {
                Input::Moving(shape, _) => {
                    graph.input.push(described(&name, DataType::Float, shape));
                }
                Input::Fixed(shape, values) => {
                    let bytes = values.iter().flat_map(|&x| (x as f32).to_le_bytes());
                    graph
                        .initializer
                        .push(tensor(&name, DataType::Float, shape, bytes.collect()));
                }
                Input::Ints(shape, values) => {
                    let bytes = values.iter().flat_map(|x| x.to_le_bytes());
                    graph
                        .initializer
                        .push(tensor(&name, DataType::Int64, shape, bytes.collect()));
                }
                Input::Bools(shape, values) => {
                    let bytes = values.iter().map(|&x| u8::from(x)).collect();
                    graph
                        .initializer
                        .push(tensor(&name, DataType::Bool, shape, bytes));
                }
                Input::Absent => {}
            }
            names.push(match input {
                Input::Absent => String::new(),
                _ => name,
            });
        }
        // The chain ends in the first output's name.
        let link = |k: usize| match k == self.then.len() {
            true => "y0".to_string(),
            false => format!("link{k}"),
        };
        let others = (1..self.outputs).map(|k| format!("y{k}"));
        graph.node.push(NodeProto {
            input: names,
            output: std::iter::once(link(0)).chain(others).collect(),
            name: Some("operator".to_string()),
            op_type: Some(self.op_type.to_string()),
            attribute: self.attributes.clone(),
            ..NodeProto::default()
        });
        for (k, (op_type, attributes)) in self.then.iter().enumerate() {
            graph.node.push(NodeProto {
                attribute: attributes.clone(),
                ..node(op_type, &[&link(k)], &link(k + 1), &[])
            });
        }
        graph.output = (0..self.outputs)
            .map(|k| output(&format!("y{k}")))
            .collect();
        ModelProto {
            ir_version: Some(9),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(self.opset),
            }],
            ..ModelProto::default()
        }
    }

    /// Holds the operator's gradient against differences and against itself in float32.
    pub fn check(&self) {
        let context = format!("{self:?}");
        let written = self
            .differentiated()
            .unwrap_or_else(|e| panic!("{e}\n{context}"));
        self.differentiated_again(written.clone(), &context);
        self.compare(&written, "total", 1e-6, 1e-4);
    }

    /// Holds products with the second derivative against differences of the gradient, too.
    pub fn check_twice(&self) {
        let context = format!("{self:?}");
        let written = self
            .differentiated()
            .unwrap_or_else(|e| panic!("{e}\n{context}"));
        self.compare(&written, "total", 1e-6, 1e-4);
        let again = self.differentiated_again(written, &context);
        self.compare(&again, "along", 1e-5, 1e-3);
    }

    /// That there is no gradient for the case, and why.
    pub fn refused(&self) -> String {
        match self.differentiated() {
            Ok(_) => panic!("a gradient was written for {self:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// The gradient in each moving input, in float32.
    pub fn gradient(&self) -> Vec<Vec<f64>> {
        let context = format!("{self:?}");
        let written = self
            .differentiated()
            .unwrap_or_else(|e| panic!("{e}\n{context}"));
        let model = giving(written.model, &written.gradients);
        run(
            &mut session(&model, &context),
            &self.feeds(&self.at(), false),
        )
    }

    /// What the elements of the first output, so many of them, are weighed with.
    pub fn weights(&self, len: usize) -> Vec<f64> {
        weights(0, len).map(f64::from).collect()
    }

    /// Where the gradient is taken.
    fn at(&self) -> Vec<Vec<f64>> {
        let moving = self.moving().into_iter();
        moving.map(|(_, _, values)| values.clone()).collect()
    }

    fn wanted(&self) -> Vec<String> {
        let moving = self.moving().into_iter();
        moving.map(|(slot, ..)| Self::name(slot)).collect()
    }

    /// The operator, the sum of its results and the gradient of that.
    pub fn differentiated(&self) -> landscape::error::Result<Differentiated> {
        // Nothing of ONNX Runtime may be called before it is loaded.
        Runtime::load(None).unwrap();
        let model = prepared(self.forward())?;
        let seen = run_seen(&model, &self.feeds(&self.at(), false));
        let model = self.weighed(model, &seen);
        let seen = run_seen(&model, &self.feeds(&self.at(), false));
        let known = values(&model, seen);
        differentiate(model, known, "total", &self.wanted(), "g")
    }

    /// The gradient of `along`, which is that of the gradient along a direction.
    fn differentiated_again(&self, written: Differentiated, context: &str) -> Differentiated {
        let Differentiated {
            mut model,
            mut values,
            gradients,
        } = written;
        let graph = model.graph.as_mut().unwrap();
        let mut parts = Vec::new();
        for (k, gradient) in gradients.iter().enumerate() {
            let value = values.get(gradient).unwrap().clone();
            let len: usize = value.shape.iter().product();
            let bytes = weights(k + 5, len).flat_map(f32::to_le_bytes).collect();
            let direction = tensor(&format!("v{k}"), DataType::Float, &value.shape, bytes);
            values.insert_tensor(&direction);
            graph.initializer.push(direction);
            let (product, part) = (format!("product{k}"), format!("part{k}"));
            let direction = format!("v{k}");
            graph.node.extend([
                node("Mul", &[gradient, &direction], &product, &[]),
                node("ReduceSum", &[&product], &part, &[("keepdims", 0)]),
            ]);
            values.insert(part.clone(), Value::new(value.dtype, Vec::new()));
            values.insert(product, value);
            parts.push(part);
        }
        let names: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node.push(node("Sum", &names, "along", &[]));
        values.insert("along", Value::new(DataType::Float, Vec::new()));
        differentiate(model, values, "along", &self.wanted(), "h")
            .unwrap_or_else(|e| panic!("again: {e}\n{context}"))
    }

    /// Holds the gradient of `scalar` against differences and against itself in float32.
    fn compare(&self, written: &Differentiated, scalar: &str, exactly: f64, roughly: f64) {
        let (context, at) = (format!("{scalar} of {self:?}"), self.at());
        let outputs = [&[scalar.to_string()], &written.gradients[..]].concat();
        let model = giving(written.model.clone(), &outputs);
        let wide: HashSet<String> = self.wanted().into_iter().collect();
        let double = widened(model.clone(), &written.values, &wide)
            .unwrap_or_else(|e| panic!("{e}\n{context}"));
        let narrow = run(&mut session(&model, &context), &self.feeds(&at, false));
        let mut double = session(&double, &context);
        let exact = run(&mut double, &self.feeds(&at, true));
        // The total's terms cancel: float32 rounds each by a part of its own size, and those of one
        // input together are about as large as the input times its gradient.
        let terms = at
            .iter()
            .zip(&exact[1..])
            .flat_map(|(x, g)| x.iter().zip(g));
        let size: f64 = terms.map(|(x, g)| (x * g).abs()).sum();
        let rounded = f64::from(f32::EPSILON) / 2.0 * size;
        close(
            &narrow[0],
            &exact[0],
            (roughly / 10.0).max(rounded),
            &format!("forward\n{context}"),
        );
        for (k, values) in at.iter().enumerate() {
            let differences = (0..values.len()).map(|i| {
                let h = 1e-6 * values[i].abs().max(1.0);
                let mut value = |step: f64| {
                    let mut moved = at.clone();
                    moved[k][i] += step;
                    run(&mut double, &self.feeds(&moved, true))[0][0]
                };
                (value(h) - value(-h)) / (2.0 * h)
            });
            let differences: Vec<f64> = differences.collect();
            let place = format!("moving input {k}\n{context}");
            let found = &exact[k + 1];
            close(
                found,
                &differences,
                exactly,
                &format!("differences, {place}"),
            );
            close(&narrow[k + 1], found, roughly, &format!("float32, {place}"));
        }
    }

    /// Adds total = Σₖ Σᵢ wₖᵢ·yₖᵢ over the outputs that are numbers.
    fn weighed(&self, mut model: ModelProto, seen: &[(String, Value)]) -> ModelProto {
        let graph = model.graph.as_mut().unwrap();
        let mut totals = Vec::new();
        for k in 0..self.outputs {
            let name = format!("y{k}");
            let (_, value) = seen.iter().find(|(other, _)| *other == name).unwrap();
            if !value.is_float() {
                continue;
            }
            let len: usize = value.shape.iter().product();
            let bytes = weights(k, len).flat_map(f32::to_le_bytes).collect();
            let weight = format!("w{k}");
            graph
                .initializer
                .push(tensor(&weight, DataType::Float, &value.shape, bytes));
            let (weighed, total) = (format!("weighed{k}"), format!("total{k}"));
            let narrow = format!("narrow{k}");
            let to = [("to", DataType::Float as i64)];
            graph.node.push(node("Cast", &[&name], &narrow, &to));
            graph
                .node
                .push(node("Mul", &[&narrow, &weight], &weighed, &[]));
            graph
                .node
                .push(node("ReduceSum", &[&weighed], &total, &[("keepdims", 0)]));
            totals.push(total);
        }
        let totals: Vec<&str> = totals.iter().map(String::as_str).collect();
        graph.node.push(node("Sum", &totals, "total", &[]));
        model
    }

    fn feeds(&self, at: &[Vec<f64>], wide: bool) -> Vec<(String, DynValue)> {
        let moving = self.moving().into_iter().zip(at);
        moving
            .map(|((slot, shape, _), values)| {
                let shape: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
                let value = if wide {
                    Tensor::from_array((shape, values.clone()))
                        .unwrap()
                        .into_dyn()
                } else {
                    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
                    Tensor::from_array((shape, values)).unwrap().into_dyn()
                };
                (Self::name(slot), value)
            })
            .collect()
    }
}

/// Numbers of both signs that the elements of result or input number `k` are weighed with.
fn weights(k: usize, len: usize) -> impl Iterator<Item = f32> {
    (0..len).map(move |i| (((i * 7 + k * 3) % 11) as f32 - 4.3) / 6.0)
}

fn tensor(name: &str, dtype: DataType, shape: &[usize], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_string()),
        dims: shape.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(dtype as i32),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

fn output(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_string()),
        ..ValueInfoProto::default()
    }
}

/// Whether two lists agree to a part of the largest element.
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1.0, |size: f64, x| size.max(x.abs()));
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        let off = (a - b).abs();
        assert!(off <= tolerance * size, "element {k}: {a} for {b}; {what}");
    }
}

/// Numbers between −2 and 2 from a seed, no two closer than 0.003, none closer to a kink at a whole
/// number or a half than 0.001: differences of 1e-6 cross nothing.
pub fn numbers(shape: &[usize], seed: u64) -> Vec<f64> {
    let len: usize = shape.iter().product();
    let mut places: Vec<usize> = (0..len).collect();
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9);
    for k in (1..len).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        places.swap(k, (state >> 33) as usize % (k + 1));
    }
    let step = 4.0 / len.max(1) as f64;
    let number = |place: usize| -2.0 + step * (place as f64 + 0.371);
    let away = |x: f64| {
        let kink = (2.0 * x).round() / 2.0;
        if (x - kink).abs() < 1e-3 {
            kink + 2e-3
        } else {
            x
        }
    };
    // f32 holds them exactly, so that both precisions see the same.
    places
        .iter()
        .map(|&place| f64::from(away(number(place)) as f32))
        .collect()
}

/// A moving input of such numbers.
pub fn moving(shape: &[usize], seed: u64) -> Input {
    Input::Moving(shape.to_vec(), numbers(shape, seed))
}

/// An attribute that is a list of integers, which may be negative.
pub fn list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: values.to_vec(),
        ..landscape::graph::build::ints(name, &[])
    }
}
