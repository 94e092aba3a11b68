//! The models' original files: which of them can be run as they are, and what that verifies.

use std::collections::BTreeMap;

use super::session::Session;
use crate::checkpoint::onnx::Model;
use crate::checkpoint::{Checkpoint, Content};
use crate::data::InputDtype;
use crate::evaluate::onnx::OriginalModel;
use crate::evaluate::signature;
use crate::graph::network::Network;
use crate::space::matching::Verified;
use crate::space::mix::Mix;
use crate::space::save::{RecipeMetadata, embedded};
use crate::space::statistics::BatchNorm;

impl Session {
    /// How each checkpoint was verified, by its name, or by its path if two share a name; and θ0,
    /// if its file is another model.
    ///
    /// `runs_files` says whether the experiment runs the files that can be run.
    pub(super) fn verified(&self, runs_files: bool) -> BTreeMap<String, String> {
        let network = self.network();
        let checkpoints = &self.inputs.checkpoints;
        let how = |(index, checkpoint): (usize, &Checkpoint)| {
            let how = match (self.aligned().verified[index], &checkpoint.content) {
                (Verified::Value, _) => "value",
                (Verified::Name, _) => "name",
                (Verified::Graph, Content::Network(model))
                    if runs_files && self.runs_itself(&network, index, model) =>
                {
                    "file"
                }
                (Verified::Graph, _) => "graph",
            };
            let mut others = checkpoints.iter().enumerate();
            let name = if others.any(|(other, it)| other != index && it.name == checkpoint.name) {
                checkpoint.path.display().to_string()
            } else {
                checkpoint.name.clone()
            };
            (name, how.to_string())
        };
        let mut verified: BTreeMap<_, _> = checkpoints.iter().enumerate().map(how).collect();
        if self.inputs.is_altered {
            verified.insert(self.inputs.origin_name.clone(), "fixed".to_string());
        }
        verified
    }

    /// The original models, θ0 first, to be run as well as their mixes.
    pub fn originals<'e>(&'e self, network: &'e Network<'e>) -> Vec<OriginalModel<'e>> {
        let written = |member: usize| {
            let mix = Mix::unit(member, self.members());
            let write =
                move |mix: &Mix| embedded(network, self.aligned(), mix, &RecipeMetadata::new());
            OriginalModel::Generated(mix, Box::new(write))
        };
        let is_altered = self.inputs.is_altered || self.settings.batch_norm.is_recalibrated();
        let mut models = vec![if is_altered {
            written(0)
        } else {
            OriginalModel::File(&self.inputs.file)
        }];
        for (index, checkpoint) in self.inputs.checkpoints.iter().enumerate() {
            models.push(match &checkpoint.content {
                Content::Network(model) if self.runs_itself(network, index, model) => {
                    OriginalModel::File(model)
                }
                _ => written(index + 1),
            });
        }
        models
    }

    /// Whether a checkpoint's file can be run as it is. A graph of another precision or batch size
    /// cannot be fed the same data, and with tensors left out or other running statistics the file is
    /// another model.
    fn runs_itself(&self, network: &Network<'_>, index: usize, model: &Model) -> bool {
        if self.settings.batch_norm != BatchNorm::Interpolate {
            return false;
        }
        // The type of each input, and its batch size if that is fixed.
        let types = |network: &Network<'_>| -> Option<Vec<(InputDtype, Option<usize>)>> {
            let inputs = signature::inputs(network).ok()?.into_iter();
            let types = inputs.map(|input| (input.dtype, input.shape.first().copied().flatten()));
            Some(types.collect())
        };
        self.aligned().left_out[index].is_empty() && types(&Network::of(model)) == types(network)
    }
}
