//! The report of a plane: loss and error of its models.

use std::path::{Path, PathBuf};

use super::columns::aligned;
use super::{Report, calibration, effort, figures, scores, self_check};
use crate::cli::terminal::print_json;
use crate::error::Result;
use crate::experiment::output::Output;
use crate::result::panels::Panels;
use crate::result::plane::{GridValue, Lowest, Minimum, Plane, PlaneSummary, Projected, file};
use crate::result::provenance::Provenance;
use crate::result::score::DatasetInfo;
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
        let mut lines = models(summary, &self.plane.datasets);
        // The last checkpoint is the soup.
        if let (Some(soup), Some(averages)) = (summary.checkpoints.last(), self.averages) {
            lines.push(format!("{}: {averages}", soup.name));
        }
        lines.extend(lowest(summary));
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
        lines.push(effort(rate, seconds));
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

/// Loss and error of the checkpoints, the soup and the marked models.
fn models(summary: &PlaneSummary, datasets: &[DatasetInfo]) -> Vec<String> {
    let checkpoints = summary.checkpoints.iter();
    let checkpoints = checkpoints.map(|model| (&model.name, &model.scores));
    let marks = summary.marks.iter().map(|mark| (&mark.name, &mark.scores));
    let models = checkpoints.chain(marks).map(|(name, scores)| scores::Row {
        name: name.clone(),
        scores: scores.iter().map(|it| &it.score).collect(),
    });
    let models: Vec<scores::Row<'_>> = models.collect();
    let datasets: Vec<String> = datasets.iter().map(|set| set.name.clone()).collect();
    let mut lines = scores::tables(&datasets, &models, summary.loss());
    let distance = |mark: &Projected| format!("{} is {:.3}", mark.name, mark.distance);
    let distances: Vec<String> = summary.marks.iter().map(distance).collect();
    if !distances.is_empty() {
        lines.push(format!("distance from the plane: {}", distances.join(", ")));
    }
    lines
}

/// Describes the points with the smallest loss and the smallest error of each data set.
fn lowest(summary: &PlaneSummary) -> Vec<String> {
    let loss = |it: &'_ Minimum| Some((it.loss?, it.lowest_loss.clone()?));
    let error = |it: &'_ Minimum| Some((it.error?, it.lowest_error.clone()?));
    let title = format!("lowest {}", scores::title(summary.loss()));
    let of_loss = lowest_of(&title, summary, &loss, |nats| minus(format!("{nats:.4}")));
    let title = format!("lowest {}", scores::ERROR);
    let of_error = lowest_of(&title, summary, &error, |share| {
        minus(format!("{:.2}", 100.0 * share))
    });
    let mut lines = [of_loss, of_error].concat();
    if !lines.is_empty() {
        lines.push(LOWEST.to_string());
    }
    lines
}

/// What the columns of the lowest points are.
const LOWEST: &str = "lowest: the smallest value on the grid, and where; cross-fitted: its value on samples that did \
                      not choose the place; − NAME: that value minus the model's on the same samples, below 0 where \
                      the point is better; ± is one standard error over samples; as low: points that the samples do \
                      not tell from the lowest (95 % for all together)";

/// The lowest points of one quantity, data set by data set; nothing where none is known.
fn lowest_of(
    title: &str,
    summary: &PlaneSummary,
    of: &dyn Fn(&Minimum) -> Option<(GridValue, Lowest)>,
    number: impl Fn(f64) -> String,
) -> Vec<String> {
    let known = summary.minimum.iter();
    let known: Vec<_> = known
        .filter_map(|it| Some((&it.dataset, of(it)?)))
        .collect();
    let Some((_, (_, first))) = known.first() else {
        return Vec::new();
    };
    let with_se = |value: f64, se: f64| format!("{} ± {}", number(value), number(se));
    let differences = first.below.iter().map(|of| format!("− {}", of.model));
    let header = [title, "", "at", "cross-fitted"].map(String::from);
    let header = header.into_iter().chain(differences);
    let mut rows = vec![header.chain(["as low".to_string()]).collect()];
    rows.extend(known.iter().map(|(dataset, (at, known))| {
        let place = minus(format!("({:.2}, {:.2})", at.x, at.y));
        let fitted = with_se(known.cross_fitted, known.cross_fitted_se);
        let cells = [(*dataset).clone(), number(at.value), place, fitted];
        let below = known.below.iter().map(|of| with_se(of.delta, of.delta_se));
        let as_low = known.not_separated.len().to_string();
        cells.into_iter().chain(below).chain([as_low]).collect()
    }));
    aligned(&rows, &[0], "  ")
}

/// A number with a minus sign instead of a hyphen.
fn minus(number: String) -> String {
    number.replace('-', "−")
}
