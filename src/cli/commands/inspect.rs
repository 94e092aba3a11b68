//! `landscape inspect`.

use crate::cli::args::{InspectArgs, fixed_tensors};
use crate::cli::report::inspection as report;
use crate::cli::terminal::{note, print};
use crate::error::Result;
use crate::experiment::inspection::{self, Inspection};
use crate::space::matching::Options;

/// Prints the tensors of a file, or a network's parameters and how they differ across checkpoints.
pub fn run(arguments: &InspectArgs) -> Result<()> {
    let options = Options {
        ignore: arguments.ignore.clone(),
        fixed: fixed_tensors(&arguments.fixed)?,
    };
    let weights = arguments.origin_weights.clone();
    match inspection::run(&arguments.files, weights, &options)? {
        Inspection::Tensors(tensors) => tensors
            .iter()
            .for_each(|(name, tensor, norm)| print(&report::tensor(name, tensor, *norm))),
        Inspection::Network(network) => {
            report::network(&network)
                .iter()
                .for_each(|line| print(line));
            let warnings = network.aligned.warnings.iter();
            warnings.for_each(|warning| note(&format!("warning: {warning}")));
        }
    }
    Ok(())
}
