//! `landscape soup`.

use crate::cli::args::SoupArgs;
use crate::cli::progress::Progress;
use crate::cli::report::{SoupReport, finish};
use crate::cli::terminal::note;
use crate::error::Result;
use crate::experiment::save;
use crate::experiment::session::Session;
use crate::experiment::soup;

/// Makes the soups, prints the table and saves the models that were asked for.
pub fn run(arguments: &SoupArgs) -> Result<()> {
    let (session, settings) = arguments.plan()?;
    let progress = Progress::default();
    let session = Session::open(session, &progress)?;
    let made = soup::run(&session, &settings, &progress)?;
    let report = SoupReport {
        soups: &made.soups,
        table: arguments.table,
        averages: session.aligned().averages.as_deref(),
    };
    finish(&report, &session, &progress, arguments.run.output.json)?;
    // By now the results are written.
    for model in &made.to_save? {
        save::write(&session, model)?;
        note(&format!("wrote {}", model.path.display()));
    }
    session.forget();
    Ok(())
}
