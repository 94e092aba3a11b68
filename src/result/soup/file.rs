//! Files of soups: `NAME.csv`, `NAME.models.csv`, `NAME.weights.csv`, `NAME.trace.csv`,
//! `NAME.comparisons.csv`, `NAME.rays.csv` unless rays are left out, for learned soups
//! `NAME.learned.csv`, with resamples `NAME.resample.csv`, and `NAME.json`, which holds everything.

use std::path::Path;

use super::{MethodResult, Soups, row_name};
use crate::error::Result;
use crate::result::calibration;
use crate::result::learned::{Learning, Step};
use crate::result::models::{Accuracies, Individual};
use crate::result::table::{read_json, remove_stale, write_json, write_rows_if_any, write_under};

/// Writes all files; `csv` is the path of the table.
///
/// # Errors
/// When a file cannot be written.
pub fn write(soups: &Soups, csv: &Path) -> Result<()> {
    table(&csv.with_extension("models.csv"), &models(soups))?;
    table(&csv.with_extension("weights.csv"), &weights(soups))?;
    table(&csv.with_extension("trace.csv"), &trace(soups))?;
    table_if(
        !soups.learned.is_empty(),
        &csv.with_extension("learned.csv"),
        || learned(soups),
    )?;
    table_if(
        !soups.rays.is_empty(),
        &csv.with_extension("rays.csv"),
        || rays(soups),
    )?;
    write_rows_if_any(&csv.with_extension("comparisons.csv"), &soups.comparisons)?;
    let models = soups.resampling.as_ref().map_or(&[][..], |it| &it.models);
    write_rows_if_any(&csv.with_extension("resample.csv"), models)?;
    table(csv, &methods(soups))?;
    write_json(csv, soups)
}

/// Reads soups from the JSON beside their CSV.
///
/// # Errors
/// When the file is missing or holds something else.
pub fn read(csv: &Path) -> Result<Soups> {
    read_json(csv, "table of soups")
}

/// Name of the column that tells whether the validation set was used for a choice of the model, so
/// that its accuracy there is in-sample.
const IN_SAMPLE: &str = "val_in_sample";

/// Rows of text, `rows[row][column]`, the header first.
type Rows = Vec<Vec<String>>;

fn table(path: &Path, rows: &Rows) -> Result<()> {
    let (header, rows) = rows.split_at(rows.len().min(1));
    write_under(path, header.iter().flatten(), rows)
}

/// Writes a table if the result has one, or else removes an earlier run's.
fn table_if(is_there: bool, path: &Path, rows: impl FnOnce() -> Rows) -> Result<()> {
    if is_there {
        return table(path, &rows());
    }
    remove_stale(path);
    Ok(())
}

/// Makes one row per mix of each ray.
fn rays(soups: &Soups) -> Rows {
    let names = ["method", "seed", "alpha"].map(String::from).to_vec();
    let points = soups.rays.iter().flat_map(|ray| &ray.points);
    let differences = points.take(1).flat_map(|point| &point.minus_best);
    let differences = differences.flat_map(|of| {
        let column = format!("minus_best_{}", of.dataset);
        [format!("{column}_se"), column].into_iter().rev()
    });
    let differences: Vec<String> = differences.collect();
    let mut rows = vec![[names, Accuracies::header(&soups.datasets), differences].concat()];
    for ray in &soups.rays {
        rows.extend(ray.points.iter().map(|point| {
            let names = [ray.to_string(), seed(ray.seed), point.alpha.to_string()];
            let accuracies = Accuracies::of(&soups.datasets, &point.scores);
            let differences = point.minus_best.iter();
            let differences = differences.flat_map(|of| [of.delta_accuracy, of.delta_accuracy_se]);
            let differences = differences.map(|value| value.to_string()).collect();
            [
                names.to_vec(),
                accuracies.record(&soups.datasets),
                differences,
            ]
            .concat()
        }));
    }
    rows
}

/// Makes one row per method. Losses are at β = 1 in every row, and beside them at the β that
/// calibrates the row on the validation set.
fn methods(soups: &Soups) -> Rows {
    let names = ["method", "seed", "members", IN_SAMPLE];
    let names = names.map(String::from).to_vec();
    let header = [
        names,
        Accuracies::header(&soups.datasets),
        calibration::header(),
    ];
    let row = |result: &MethodResult| {
        let accuracies = Accuracies::of(&soups.datasets, &result.scores);
        let names = [
            result.to_string(),
            seed(result.seed),
            result.members.join(";"),
            result.val_in_sample.to_string(),
        ];
        let of = result.calibration.as_ref();
        [
            names.to_vec(),
            accuracies.record(&soups.datasets),
            calibration::record(&soups.datasets, &result.scores, of),
        ]
        .concat()
    };
    std::iter::once(header.concat())
        .chain(soups.methods.iter().map(row))
        .collect()
}

fn models(soups: &Soups) -> Rows {
    let first = soups.models.first();
    let columns = first
        .into_iter()
        .flat_map(|model| model.hyperparameters.keys());
    let names = ["name", "path"].map(String::from).into_iter();
    let in_sample = vec![IN_SAMPLE.to_string()];
    let own = [
        in_sample,
        Accuracies::header(&soups.datasets),
        calibration::header(),
    ]
    .concat();
    // If the list has a column of the same name, the measured one keeps the name.
    let columns = columns.map(|column| {
        if own.contains(column) {
            format!("listed_{column}")
        } else {
            column.clone()
        }
    });
    let header = [names.chain(columns).collect(), own.clone()].concat();
    let row = |model: &Individual| {
        let names = vec![model.name.clone(), model.path.clone()];
        let values = model.hyperparameters.values().cloned().collect();
        let in_sample = vec![soups.is_chosen(model).to_string()];
        let accuracies = Accuracies::of(&soups.datasets, &model.scores);
        let of = model.calibration.as_ref();
        let calibration = calibration::record(&soups.datasets, &model.scores, of);
        [
            names,
            values,
            in_sample,
            accuracies.record(&soups.datasets),
            calibration,
        ]
        .concat()
    };
    std::iter::once(header)
        .chain(soups.models.iter().map(row))
        .collect()
}

fn weights(soups: &Soups) -> Rows {
    let header = ["method", "seed", "model", "tensor", "coefficient"].map(String::from);
    let mut rows = vec![header.to_vec()];
    for result in &soups.methods {
        for weight in &result.coefficients {
            rows.push(vec![
                result.to_string(),
                seed(result.seed),
                weight.model.clone(),
                weight.tensor.clone().unwrap_or_default(),
                weight.coefficient.to_string(),
            ]);
        }
    }
    rows
}

fn trace(soups: &Soups) -> Rows {
    let header = [
        "method",
        "seed",
        "step",
        "model",
        "val_accuracy",
        "added",
        "members",
        "gained",
        "lost",
        "mcnemar_p",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    let count = |count: Option<usize>| count.map_or_else(String::new, |count| count.to_string());
    for decision in &soups.decisions {
        rows.push(vec![
            row_name(decision.method, decision.combine),
            seed(decision.seed),
            decision.step.to_string(),
            decision.model.clone(),
            decision.val_accuracy.to_string(),
            decision.added.to_string(),
            decision.members.to_string(),
            count(decision.gained),
            count(decision.lost),
            decision
                .mcnemar_p
                .map_or_else(String::new, |p| p.to_string()),
        ]);
    }
    rows
}

/// Makes one row for the start and one per step: the loss of the mini-batch before the step, β
/// after it, and at the end of an epoch the loss by which the best epoch was chosen.
fn learned(soups: &Soups) -> Rows {
    let header = [
        "method",
        "step",
        "epoch",
        "batch_loss",
        "batch_error",
        "beta",
        "selection_loss",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    for learning in &soups.learned {
        let name = learning.method.name();
        let cells = |step: usize, epoch: usize, rest: [String; 4]| {
            let first = [name.to_string(), step.to_string(), epoch.to_string()];
            [&first[..], &rest[..]].concat()
        };
        rows.extend(learning.epochs.first().map(|start| {
            let [beta, loss] = [start.beta, start.selection_loss].map(|value| value.to_string());
            cells(0, 0, [String::new(), String::new(), beta, loss])
        }));
        rows.extend(learning.steps.iter().map(|step| {
            let [loss, error, beta] =
                [step.batch_loss, step.batch_error, step.beta].map(|value| value.to_string());
            cells(
                step.step,
                step.epoch,
                [loss, error, beta, judged(learning, step)],
            )
        }));
    }
    rows
}

/// The loss by which the epoch that ends with this step was judged; empty within an epoch.
fn judged(learning: &Learning, step: &Step) -> String {
    let mut epochs = learning.epochs.iter();
    let epoch = epochs.find(|epoch| epoch.step == step.step);
    epoch.map_or_else(String::new, |epoch| epoch.selection_loss.to_string())
}

fn seed(seed: Option<u64>) -> String {
    seed.map_or_else(String::new, |seed| seed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::calibration::{Calibration, Reliability};
    use crate::result::combine::Combine;
    use crate::result::learned::{
        Ended, Epoch, Layers, LearningSettings, Length, Optimizer, Start,
    };
    use crate::result::method::Method;
    use crate::result::models::Individual;
    use crate::result::score::{DatasetInfo, Role, Score};
    use crate::result::soup::Evaluations;

    fn soups() -> Soups {
        let epoch = |epoch: usize, loss: f64| Epoch {
            epoch,
            step: 2 * epoch,
            selection_loss: loss,
            selection_error: 0.5,
            gain: None,
            gain_se: None,
            beta: 1.0 + epoch as f64 / 4.0,
            alpha: vec![vec![1.0]],
        };
        let step = |step: usize, loss: f64| Step {
            step,
            epoch: step.div_ceil(2),
            batch_loss: loss,
            batch_error: 0.25,
            beta: 1.125,
        };
        let learning = Learning {
            method: Method::Learned,
            settings: LearningSettings {
                layers: Layers::All,
                optimizer: Optimizer::AdamW,
                length: Length::Epochs(2),
                learning_rate: 0.05,
                weight_decay: 0.0,
                batch: 4,
                softmax: true,
                learns_beta: true,
                holdout: None,
                patience: 2,
                seed: 0,
            },
            start: Start::Uniform,
            samples: [8, 0],
            rows: vec![Default::default()],
            steps: vec![step(1, 0.75), step(2, 0.5), step(3, f64::NAN)],
            epochs: vec![epoch(0, 1.0), epoch(1, 0.5)],
            best: 1,
            ended: Ended::NotFinite,
        };
        Soups {
            datasets: Vec::new(),
            origin: Individual {
                name: "zs".to_string(),
                path: "zs.onnx".to_string(),
                hyperparameters: Default::default(),
                scores: Vec::new(),
                calibration: None,
            },
            models: Vec::new(),
            methods: Vec::new(),
            rays: Vec::new(),
            resampling: None,
            comparisons: Vec::new(),
            origin_comparisons: Vec::new(),
            may_be_highest: Default::default(),
            decisions: Vec::new(),
            learned: vec![learning],
            saved: Vec::new(),
            evaluations: Evaluations::default(),
            warnings: Vec::new(),
            provenance: Default::default(),
        }
    }

    #[test]
    fn a_learned_soup_has_its_course_in_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("soup.csv");
        let mut soups = soups();
        write(&soups, &csv).unwrap();
        let course = std::fs::read_to_string(csv.with_extension("learned.csv")).unwrap();
        let expected = "method,step,epoch,batch_loss,batch_error,beta,selection_loss\n\
                        learned,0,0,,,1,1\n\
                        learned,1,1,0.75,0.25,1.125,\n\
                        learned,2,1,0.5,0.25,1.125,0.5\n\
                        learned,3,2,NaN,0.25,1.125,\n";
        assert_eq!(course, expected);
        let back = read(&csv).unwrap();
        assert!(back.learned[0].steps[2].batch_loss.is_nan());
        assert_eq!(back.learned[0].epochs, soups.learned[0].epochs);
        // The next run learned nothing.
        soups.learned.clear();
        write(&soups, &csv).unwrap();
        assert!(!csv.with_extension("learned.csv").exists());
        assert_eq!(read(&csv).unwrap(), soups);
    }

    #[test]
    fn every_row_has_its_losses_without_and_with_its_beta() {
        let mut soups = soups();
        let at = |loss: f64| Reliability {
            loss,
            ece: loss / 4.0,
            brier: 2.0 * loss,
        };
        let made = |method: Method, calibrated: f64| MethodResult {
            method,
            base: None,
            setting: None,
            seed: None,
            members: vec!["ft1".to_string()],
            coefficients: Vec::new(),
            combine: Combine::Logits,
            beta: None,
            val_in_sample: false,
            scores: [0.5, 0.75, 1.0, 2.0]
                .map(|loss| Score {
                    loss,
                    loss_se: 0.1,
                    error: 0.25,
                    error_se: 0.1,
                    nonfinite: 0,
                })
                .to_vec(),
            calibration: Some(Calibration {
                beta: 2.5,
                plain: [0.5, 0.75, 1.0, 2.0].map(at).to_vec(),
                calibrated: vec![at(calibrated); 4],
            }),
        };
        let roles = [Role::Val, Role::Test, Role::Shift, Role::Shift];
        let set = |(name, role): (&str, Role)| DatasetInfo {
            name: name.to_string(),
            role,
            samples: 4,
        };
        let names = ["val", "test", "s", "t"];
        soups.datasets = names.into_iter().zip(roles).map(set).collect();
        let probabilities = MethodResult {
            combine: Combine::Probabilities,
            calibration: None,
            ..made(Method::Ensemble, 0.0)
        };
        soups.methods = vec![made(Method::Uniform, 0.25), probabilities];
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("soup.csv");
        write(&soups, &csv).unwrap();
        let expected = "method,seed,members,val_in_sample,val_accuracy,val_loss,test_accuracy,shift_accuracy,accuracy_s,accuracy_t,\
                        beta,val_loss_calibrated,val_ece,val_ece_calibrated,val_brier,val_brier_calibrated,\
                        test_loss,test_loss_calibrated,test_ece,test_ece_calibrated,test_brier,test_brier_calibrated,\
                        shift_loss,shift_loss_calibrated,shift_ece,shift_ece_calibrated,shift_brier,shift_brier_calibrated\n\
                        uniform,,ft1,false,0.75,0.5,0.75,0.75,0.75,0.75,\
                        2.5,0.25,0.125,0.0625,1,0.5,\
                        0.75,0.25,0.1875,0.0625,1.5,0.5,\
                        1.5,0.25,0.375,0.0625,3,0.5\n\
                        ensemble:probabilities,,ft1,false,0.75,0.5,0.75,0.75,0.75,0.75,\
                        NaN,NaN,NaN,NaN,NaN,NaN,\
                        0.75,NaN,NaN,NaN,NaN,NaN,\
                        1.5,NaN,NaN,NaN,NaN,NaN\n";
        assert_eq!(std::fs::read_to_string(&csv).unwrap(), expected);
        assert_eq!(read(&csv).unwrap().methods, soups.methods);
    }

    #[test]
    fn a_file_from_before_learned_soups_is_read() {
        let mut old = serde_json::to_value(soups()).unwrap();
        old.as_object_mut().unwrap().remove("learned");
        let made = serde_json::json!([{
            "method": "greedy", "setting": null, "seed": null,
            "members": [], "coefficients": [], "scores": [],
        }]);
        old["methods"] = made;
        let read: Soups = serde_json::from_value(old).unwrap();
        assert!(read.learned.is_empty() && read.methods[0].beta.is_none());
    }
}
