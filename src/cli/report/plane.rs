//! The report of a plane: loss and error of its models.

use std::path::{Path, PathBuf};

use super::{Report, calibration, figures, self_check};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::experiment::output::Output;
use crate::result::loss::LossKind;
use crate::result::panels::Panels;
use crate::result::plane::{Minimum, Plane, PlaneSummary, file};
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
use crate::result::score::NamedScore;
use crate::result::table::named;

/// A plane and how to present it.
pub struct PlaneReport<'r> {
    /// The plane.
    pub plane: &'r Plane,
    /// Panels of the figure.
    pub panels: Panels,
    /// What values between the checkpoints are, if not averages of the models' parameters.
    pub averages: Option<&'r str>,
}

/// Writes and draws a plane that is still being sampled.
///
/// # Errors
/// When a file cannot be written.
pub fn write_partial(plane: &Plane, panels: Panels, output: &Output) -> Result<()> {
    let csv = output.csv();
    file::write(plane, &csv)?;
    figures::plane(plane, panels, &output.plots(), &output.name)?;
    Ok(())
}

impl Report for PlaneReport<'_> {
    fn warnings(&self) -> &[String] {
        &self.plane.summary.warnings
    }

    fn provenance(&self) -> &Provenance {
        &self.plane.summary.provenance
    }

    fn datasets(&self) -> &[DatasetInfo] {
        &self.plane.datasets
    }

    fn write(&self, csv: &Path) -> Result<()> {
        file::write(self.plane, csv)
    }

    fn draw(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        figures::plane(self.plane, self.panels, folder, name)
    }

    fn print_json(&self) -> Result<()> {
        let summary = &self.plane.summary;
        print_json(&named(summary.loss(), summary)?)
    }

    fn result(&self) -> Vec<String> {
        let summary = &self.plane.summary;
        let mut lines: Vec<String> = summary
            .checkpoints
            .iter()
            .map(|model| row(&model.name, &model.scores, summary.loss()))
            .collect();
        // The last checkpoint is the soup.
        if let (Some(soup), Some(averages)) = (lines.last_mut(), self.averages) {
            soup.push_str(&format!("  ({averages})"));
        }
        lines.extend(summary.marks.iter().map(|mark| {
            let row = row(&mark.name, &mark.scores, summary.loss());
            format!("{row}  {:.3} off the plane", mark.distance)
        }));
        lines.extend(lowest(&self.plane.summary));
        lines.extend(calibrated(&self.plane.summary));
        lines
    }

    fn remarks(&self, rate: f64) -> Vec<String> {
        let summary = &self.plane.summary;
        let (checks, provenance) = (&summary.checks, &summary.provenance);
        let mut lines = vec![self_check::described(checks, provenance, "the plane")];
        let measured = self.plane.measured.iter().filter(|it| **it).count();
        let points = self.plane.grid.len();
        if measured < points {
            lines.push(format!(
                "{measured} of {points} grid points were evaluated, the others interpolated"
            ));
        }
        let seconds = provenance.wall_seconds;
        lines.push(format!("{rate:.0} samples/s, {seconds:.1} s"));
        lines
    }
}

/// Says what the losses are if they are calibrated, with the β of the models.
fn calibrated(summary: &PlaneSummary) -> Vec<String> {
    let models = summary.checkpoints.iter();
    let models = models.filter_map(|model| Some((model.name.as_str(), model.beta?)));
    let marks = summary.marks.iter();
    let marks = marks.filter_map(|mark| Some((mark.name.as_str(), mark.beta?)));
    calibration::described(summary.calibration.as_ref(), models.chain(marks))
}

/// Describes the points with the smallest error, data set by data set.
fn lowest(summary: &PlaneSummary) -> Vec<String> {
    let line = |minimum: &Minimum| {
        let (at, known) = (minimum.error?, minimum.lowest_error.as_ref()?);
        let percent = |value: f64| 100.0 * value;
        let below = known.below.iter().map(|of| {
            let (delta, se) = (percent(of.delta), percent(of.delta_se));
            format!("{delta:+.2} ± {se:.2} from {}", of.model).replace('-', "−")
        });
        let ties = match known.tied.len() {
            1 => String::new(),
            ties => format!(" ({ties} points tied)"),
        };
        Some(format!(
            "lowest error on {}: {:.2} % at ({:.2}, {:.2}){ties}, {:.2} ± {:.2} % cross-fitted: {}; {} points are \
             not separated from it",
            minimum.dataset,
            percent(at.value),
            at.x,
            at.y,
            percent(known.cross_fitted),
            percent(known.cross_fitted_se),
            below.collect::<Vec<_>>().join(", "),
            known.not_separated.len()
        ))
    };
    summary.minimum.iter().filter_map(line).collect()
}

/// Loss and error of a model on every data set.
fn row(name: &str, scores: &[NamedScore], loss: LossKind) -> String {
    let unit = match loss {
        LossKind::Plain => "nats",
        LossKind::Calibrated => "nats (calibrated)",
    };
    let mut line = format!("{name:12}");
    for score in scores {
        let (loss, error) = (score.score.loss, 100.0 * score.score.error);
        line.push_str(&format!(
            "  {} {loss:.4} {unit} {error:.2} %",
            score.dataset
        ));
    }
    line
}
