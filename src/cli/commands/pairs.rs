//! `landscape pairs`.

use crate::cli::args::PairsArgs;
use crate::cli::progress::Progress;
use crate::cli::report::{PairsReport, finish};
use crate::error::Result;
use crate::experiment::pairs;
use crate::experiment::session::Session;

/// Evaluates the pairs and draws them.
pub fn run(arguments: &PairsArgs) -> Result<()> {
    let (session, settings) = arguments.plan()?;
    let progress = Progress::default();
    let session = Session::open(session, &progress)?;
    let pairs = pairs::run(&session, &settings, &progress)?;
    let report = PairsReport {
        pairs: &pairs,
        averages: session.aligned().averages.as_deref(),
    };
    finish(&report, &session, &progress, arguments.run.output.json)?;
    session.forget();
    Ok(())
}
