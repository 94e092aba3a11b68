//! Maps the input names of a session to the values that feed them. Every graph written here names
//! its inputs, and only this file knows what the names mean. The caller supplies the values.

use std::borrow::Cow;

use ort::session::{Session, SessionInputValue};

use super::feature::Feature;
use super::moving::MovingTensor;
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::evaluate::signature::Signature;
use crate::graph::gradient::loss;
use crate::graph::in_graph;

/// The value that feeds an input of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Samples, for the network input at this index of the signature.
    Input(usize),
    /// Samples as the frozen part hands them over, for the feature at this index.
    Feature(usize),
    /// The labels, [samples, 1].
    Labels,
    /// The weight of each sample in the loss, [samples, 1].
    SampleWeights,
    /// The factor β of the logits, a scalar.
    Beta,
    /// A moving tensor, by its index among them.
    Weight(usize),
    /// The component of a direction in the moving tensor at this index.
    Direction(usize),
    /// The coefficient of a member for tensors of one type, a scalar.
    Coefficient(usize, Dtype),
}

impl Feed {
    /// The error for a session that is run without this value.
    pub fn missing(self) -> ort::Error {
        ort::Error::new(format!("nothing is at hand to feed {self:?} with"))
    }
}

/// The name of the input for a direction's component in the moving tensor `tensor`.
pub fn direction(tensor: &str) -> String {
    format!("{tensor}.direction")
}

/// Everything that an input's name can refer to.
pub struct InputNames<'n> {
    signature: &'n Signature,
    features: &'n [Feature],
    moving: &'n [MovingTensor],
    members: usize,
}

impl<'n> InputNames<'n> {
    /// Names for graphs that read only the network's inputs.
    pub fn of_network(signature: &'n Signature) -> Self {
        Self::new(signature, &[], &[], 0)
    }

    /// Names for graphs that also read features and moving tensors, for a pool of `members` models.
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

    /// Looks up the feed of an input by name.
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

    /// Looks up the feed of each input.
    ///
    /// # Errors
    /// Fails when a name is unknown.
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

/// The inputs of one session, in its order, each with its feed.
#[derive(Debug)]
pub struct Feeds(Vec<(String, Feed)>);

/// The named values that a session is run on.
pub type Values<'v> = Vec<(Cow<'v, str>, SessionInputValue<'v>)>;

impl Feeds {
    /// The feeds of a session over a graph written here, whose inputs are known by name.
    ///
    /// # Errors
    /// Fails when a name is unknown.
    pub fn by_name(session: &Session, names: &InputNames<'_>) -> Result<Self> {
        names.feeds(session.inputs().iter().map(ort::value::Outlet::name))
    }

    /// The feeds of a session over a file. Another export may name its inputs differently, so they
    /// are matched to the network's inputs by order.
    pub fn by_order(session: &Session) -> Self {
        let inputs = session.inputs().iter().enumerate();
        let feeds = inputs.map(|(k, input)| (input.name().to_string(), Feed::Input(k)));
        Self(feeds.collect())
    }

    /// Whether some input takes this feed.
    pub fn contains(&self, feed: Feed) -> bool {
        self.0.iter().any(|(_, known)| *known == feed)
    }

    /// Calls `value` for the feed of each input.
    ///
    /// # Errors
    /// Returns the errors of `value`.
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
