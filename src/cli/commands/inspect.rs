//! `landscape inspect`.

use crate::cli::args::{InspectArgs, fixed_tensors};
use crate::cli::report::inspection as report;
use crate::cli::terminal::{note, print};
use crate::error::Result;
use crate::experiment::angle_tensors::AngleTensors;
use crate::experiment::inspection::{self, Inspection};
use crate::space::matching::Options;

/// Prints the tensors of a file, or a network's parameters and how they differ across checkpoints.
pub fn run(arguments: &InspectArgs) -> Result<()> {
    let options = Options {
        ignore: arguments.ignore.clone(),
        ignore_unused: arguments.ignore_unused,
        fixed: fixed_tensors(&arguments.fixed)?,
        ..Options::default()
    };
    let weights = arguments.origin_weights.clone();
    let key = arguments.weights.as_deref();
    let tensors = AngleTensors {
        of: arguments.angle_of.clone(),
        not: arguments.angle_not.clone(),
    };
    match inspection::run(&arguments.files, weights, key, &options, &tensors)? {
        Inspection::Tensors(held) => {
            held.notes.iter().for_each(|text| note(text));
            if let Some(key) = held.dictionary {
                note(&format!("the tensors of `{key}`:"));
            }
            let lines = report::tensors(&held.tensors);
            lines.iter().for_each(|line| print(line));
        }
        Inspection::Network(network) => {
            network.notes.iter().for_each(|text| note(text));
            report::network(&network)
                .iter()
                .for_each(|line| print(line));
            network.aligned.notes.iter().for_each(|it| note(it));
            let rounding = network.rounding.as_ref();
            let rounding = rounding.and_then(|it| it.warning(&network.aligned.pool));
            let warnings = network.aligned.warnings.iter().chain(&rounding);
            warnings.for_each(|warning| note(&format!("warning: {warning}")));
        }
    }
    Ok(())
}
