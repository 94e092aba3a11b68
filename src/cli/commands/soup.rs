//! `landscape soup`.

use crate::cli::args::{SoupArgs, TableFormat};
use crate::cli::progress::Progress;
use crate::cli::report::{SoupReport, finish, saved_model};
use crate::cli::terminal::{note, print};
use crate::error::Result;
use crate::experiment::save;
use crate::experiment::session::Session;
use crate::experiment::soup;
use crate::result::soup::file;

/// Makes the soups, prints the table and saves the models that were asked for.
pub fn run(arguments: &SoupArgs) -> Result<()> {
    let (session, settings) = arguments.plan()?;
    let progress = Progress::beginning("the soups, whose number depends on the models");
    let session = Session::open(session, &progress)?;
    let mut made = soup::run(&session, &settings, &progress)?;
    // The results are on disk before a file could fail.
    file::write(&made.soups, &session.output().csv())?;
    let saved = made
        .to_save
        .and_then(|models| save::write(&session, &models));
    let failed = match saved {
        Ok(saved) => {
            let differing = save::differing(&saved, &made.soups);
            made.soups.warnings.extend(differing);
            made.soups.saved = saved;
            None
        }
        Err(error) => Some(error),
    };
    let report = SoupReport {
        soups: &made.soups,
        table: arguments.table,
        averages: session.aligned().averages.as_deref(),
    };
    finish(&report, &session, &progress, arguments.run.output.json)?;
    let say = if arguments.run.output.json || arguments.table != TableFormat::Text {
        note
    } else {
        print
    };
    for model in &made.soups.saved {
        say(&saved_model(model));
    }
    if let Some(error) = failed {
        return Err(error);
    }
    session.forget();
    Ok(())
}
