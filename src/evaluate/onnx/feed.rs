//! What the inputs of a session are fed with. Every graph that is written here names its inputs; this
//! is the one file that knows what a name stands for. The values come from whoever runs the session.

use std::borrow::Cow;

use ort::session::{Session, SessionInputValue};

use super::feature::Feature;
use super::moving::MovingTensor;
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::evaluate::signature::Signature;
use crate::graph::gradient::loss;
use crate::graph::in_graph;

/// What an input of a session is fed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Samples: an input of the network, by its index in the signature.
    Input(usize),
    /// Samples as the frozen part hands them over, by the feature's index.
    Feature(usize),
    /// The labels, [samples, 1].
    Labels,
    /// The weight of each sample in the loss, [samples, 1].
    SampleWeights,
    /// The factor β of the logits, a scalar.
    Beta,
    /// A moving tensor, by its index among them.
    Weight(usize),
    /// A direction's part in a moving tensor, by the tensor's index.
    Direction(usize),
    /// The coefficient of a member for tensors of a type, a scalar.
    Coefficient(usize, Dtype),
}

impl Feed {
    /// The error of a session that is run without this value.
    pub fn missing(self) -> ort::Error {
        ort::Error::new(format!("nothing is at hand to feed {self:?} with"))
    }
}

/// Name of the input that holds a direction's part in the moving tensor of a name.
pub fn direction(tensor: &str) -> String {
    format!("{tensor}.direction")
}

/// What the names of inputs can stand for.
pub struct InputNames<'n> {
    signature: &'n Signature,
    features: &'n [Feature],
    moving: &'n [MovingTensor],
    members: usize,
}

impl<'n> InputNames<'n> {
    /// Of graphs that read the network's inputs and nothing else.
    pub fn of_network(signature: &'n Signature) -> Self {
        Self::new(signature, &[], &[], 0)
    }

    /// Of graphs that read features and moving tensors, too, for a pool of `members`.
    pub fn new(
        signature: &'n Signature,
        features: &'n [Feature],
        moving: &'n [MovingTensor],
        members: usize,
    ) -> Self {
        Self {
            signature,
            features,
            moving,
            members,
        }
    }

    /// What the input of a name is fed with.
    fn feed(&self, name: &str) -> Option<Feed> {
        let inputs = &self.signature.inputs;
        if let Some(k) = inputs.iter().position(|input| input.name == name) {
            return Some(Feed::Input(k));
        }
        if let Some(k) = self.features.iter().position(|it| it.name == name) {
            return Some(Feed::Feature(k));
        }
        match name {
            loss::LABELS => return Some(Feed::Labels),
            loss::WEIGHTS => return Some(Feed::SampleWeights),
            loss::BETA => return Some(Feed::Beta),
            _ => {}
        }
        if let Some(k) = self.moving.iter().position(|it| it.name == name) {
            return Some(Feed::Weight(k));
        }
        let mut moving = self.moving.iter();
        if let Some(k) = moving.position(|it| direction(&it.name) == name) {
            return Some(Feed::Direction(k));
        }
        let dtypes = [Dtype::F32, Dtype::F64];
        let mut coefficients =
            (1..self.members).flat_map(|member| dtypes.map(|dtype| (member, dtype)));
        coefficients
            .find(|&(member, dtype)| in_graph::coefficient(member, dtype) == name)
            .map(|(member, dtype)| Feed::Coefficient(member, dtype))
    }

    /// What each of the inputs is fed with.
    ///
    /// # Errors
    /// For a name that stands for nothing.
    fn feeds<'i>(&self, inputs: impl Iterator<Item = &'i str>) -> Result<Feeds> {
        let feed = |name: &str| match self.feed(name) {
            Some(feed) => Ok((name.to_string(), feed)),
            None => Err(Error::runtime(
                "ONNX Runtime, building the session",
                format!("nothing is known that input `{name}` of the graph could be fed with"),
            )),
        };
        inputs.map(feed).collect::<Result<_>>().map(Feeds)
    }
}

/// The inputs of one session, in its order, each with what it is fed with.
#[derive(Debug)]
pub struct Feeds(Vec<(String, Feed)>);

/// What a session is run on.
pub type Values<'v> = Vec<(Cow<'v, str>, SessionInputValue<'v>)>;

impl Feeds {
    /// Of a session over a graph that was written here: inputs are known by name.
    ///
    /// # Errors
    /// For a name that stands for nothing.
    pub fn by_name(session: &Session, names: &InputNames<'_>) -> Result<Self> {
        names.feeds(session.inputs().iter().map(ort::value::Outlet::name))
    }

    /// Of a session over a file, whose export may call its inputs otherwise: they correspond to
    /// those of the network in order.
    pub fn by_order(session: &Session) -> Self {
        let inputs = session.inputs().iter().enumerate();
        let feeds = inputs.map(|(k, input)| (input.name().to_string(), Feed::Input(k)));
        Self(feeds.collect())
    }

    /// Whether some input is fed with this.
    pub fn contains(&self, feed: Feed) -> bool {
        self.0.iter().any(|(_, known)| *known == feed)
    }

    /// The value of each input.
    ///
    /// # Errors
    /// Those of `value`.
    pub fn values<'v>(
        &'v self,
        value: impl Fn(Feed) -> ort::Result<SessionInputValue<'v>>,
    ) -> ort::Result<Values<'v>> {
        let feeds = self.0.iter();
        let values = feeds.map(|(name, feed)| Ok((Cow::from(name.as_str()), value(*feed)?)));
        values.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{InputDtype, InputSpec};

    #[test]
    fn each_name_stands_for_one_thing_and_an_unknown_one_is_an_error() {
        let signature = Signature {
            inputs: vec![InputSpec {
                name: "x".to_string(),
                dtype: InputDtype::F32,
                shape: vec![None, Some(3)],
            }],
            output: 0,
            output_name: "logits".to_string(),
            fixed_batch: None,
        };
        let features = [Feature {
            name: "hidden".to_string(),
            dtype: InputDtype::F32,
            shape: vec![4],
        }];
        let moving = [MovingTensor {
            parameter: 7,
            name: "landscape.7".to_string(),
        }];
        let names = InputNames::new(&signature, &features, &moving, 3);
        let coefficient = in_graph::coefficient(2, Dtype::F64);
        for (name, feed) in [
            ("x", Feed::Input(0)),
            ("hidden", Feed::Feature(0)),
            (loss::LABELS, Feed::Labels),
            (loss::WEIGHTS, Feed::SampleWeights),
            (loss::BETA, Feed::Beta),
            ("landscape.7", Feed::Weight(0)),
            (&direction("landscape.7"), Feed::Direction(0)),
            (&coefficient, Feed::Coefficient(2, Dtype::F64)),
        ] {
            assert_eq!(names.feed(name), Some(feed), "{name}");
        }
        let unknown = in_graph::coefficient(3, Dtype::F32);
        let error = names.feeds(["x", unknown.as_str()].into_iter());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("input `{unknown}`")), "{error}");
        let of_network = InputNames::of_network(&signature);
        assert_eq!(of_network.feed("hidden"), None);
    }
}
