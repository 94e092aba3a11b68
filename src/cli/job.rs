//! A plane on its way: what is said while it is computed, and what is shown of it.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::plan::Plan;
use super::progress::Meter;
use super::{draw, note};
use crate::analysis::adaptive::Refinement;
use crate::analysis::check;
use crate::analysis::plane::{self as analysis, Surface};
use crate::error::Result;
use crate::evaluate::onnx::size;
use crate::evaluate::{Answers, Outlook, Watch};
use crate::result::grid::Grid;
use crate::result::plane::{Check, Plane, Summary};
use crate::result::plane_file;
use crate::result::provenance::Provenance;
use crate::space::matching::Aligned;
use crate::space::plane::PlaneBasis;

/// All that turns answers into a plane and its files.
pub struct Job<'j> {
    /// Stem of the output files.
    pub name: &'j str,
    /// What was asked for.
    pub plan: &'j Plan,
    /// The checkpoints, aligned.
    pub aligned: &'j Aligned,
    /// Names of θ0, θ1, θ2.
    pub names: [String; 3],
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// The plane.
    pub basis: PlaneBasis,
    /// Its grid.
    pub grid: Grid,
    /// Which points of it are measured.
    pub refinement: Mutex<Refinement>,
    /// When the run began.
    pub start: Instant,
    /// Nodes that are frozen, and all.
    pub frozen: Option<(usize, usize)>,
    /// What is done.
    pub meter: OnceLock<Meter>,
    /// How the work is laid out, once it is known.
    pub layout: OnceLock<String>,
}

impl Job<'_> {
    /// The measured points so far.
    pub fn refinement(&self) -> MutexGuard<'_, Refinement> {
        let points = self.refinement.lock();
        points.unwrap_or_else(PoisonError::into_inner)
    }

    /// The plane that the answers are.
    pub fn assemble(&self, answers: &Answers) -> Plane {
        let refinement = self.refinement();
        let surface = analysis::arrange(answers, &self.basis, &self.grid, &refinement, &self.names);
        let datasets = &answers.datasets;
        let checks = check::against_files(datasets, &self.names, &answers.files, &surface.on_plane);
        let warnings = warnings(self.aligned, &checks, &surface);
        let mut provenance = self.provenance.clone();
        provenance.wall_seconds = self.start.elapsed().as_secs_f64();
        if let Some(layout) = self.layout.get() {
            let layout = layout.clone();
            provenance.settings.insert("layout".to_string(), layout);
        }
        Plane {
            coefficients: surface.coefficients,
            datasets: datasets.clone(),
            scores: surface.scores,
            summary: Summary {
                geometry: self.basis.geometry,
                checkpoints: surface.checkpoints,
                minimum: surface.minimum,
                checks,
                warnings,
                provenance,
            },
            measured: refinement.measured().to_vec(),
            grid: self.grid.clone(),
        }
    }

    /// What is said when the run begins.
    fn plan_of(&self, outlook: &Outlook) -> String {
        let Outlook {
            models,
            samples,
            chunks,
            done,
            ..
        } = outlook;
        let mut line = format!(
            "{models} models × {samples} samples, about {}, {} of memory",
            brief(outlook.seconds),
            size(outlook.memory)
        );
        if let Some((frozen, all)) = self.frozen {
            line.push_str(&format!(
                "; {frozen} of {all} nodes are frozen and run once"
            ));
        }
        if *chunks > 1 {
            line.push_str(&format!("; the map shows after 1/{chunks} of the samples"));
        }
        if *done > 0 {
            let part = 100.0 * *done as f64 / (models * samples) as f64;
            line.push_str(&format!(
                "; {part:.0} % were done before (--fresh begins anew)"
            ));
        }
        line
    }
}

impl Watch for Job<'_> {
    fn begins(&self, outlook: &Outlook) {
        let Outlook {
            models,
            samples,
            done,
            ..
        } = *outlook;
        let points = models - done / samples.max(1);
        match self.meter.get() {
            None => {
                note(&self.plan_of(outlook));
                let meter = Meter::new(points, models * samples - done);
                let _ = self.meter.set(meter);
            }
            // A later call refines the grid.
            Some(meter) => {
                let seconds = brief(outlook.seconds);
                note(&format!("refining: {points} more points, about {seconds}"));
                meter.extend(points, models * samples - done);
            }
        }
        let _ = self.layout.set(outlook.layout.clone());
    }

    fn progress(&self, models: usize, samples: usize) {
        if let Some(meter) = self.meter.get() {
            meter.add(models, samples);
        }
    }

    fn sharpened(&self, answers: &Answers) -> Result<()> {
        let name = format!("{}.partial", self.name);
        let mut plane = self.assemble(answers);
        plane
            .summary
            .warnings
            .push("partial: the run goes on".to_string());
        let csv = self.plan.csv(&name);
        plane_file::write(&plane, &csv, &plane_file::json_beside(&csv))?;
        draw::figures(&plane, self.plan.panels, &self.plan.plots(), &name)?;
        Ok(())
    }
}

/// Seconds as a person would say them.
fn brief(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "1 s".to_string(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn warnings(aligned: &Aligned, checks: &[Check], surface: &Surface) -> Vec<String> {
    let mut warnings = aligned.warnings.clone();
    for check in checks.iter().filter(|check| !check.agrees) {
        warnings.push(format!(
            "{} on {}: its file gives loss {:.6}, the plane {:.6}, {} samples differ; do not trust this plane",
            check.name, check.dataset, check.loss_file, check.loss_plane, check.error_difference
        ));
    }
    let nonfinite = surface
        .scores
        .iter()
        .flatten()
        .filter(|score| score.nonfinite > 0)
        .count();
    if nonfinite > 0 {
        warnings.push(format!(
            "{nonfinite} values of the surface are NaN or infinite; they are hatched"
        ));
    }
    warnings
}
