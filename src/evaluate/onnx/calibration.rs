//! Calibrated losses: the β of each model is found on the validation set first, and all its losses are
//! those of β·logits.

use std::ops::Range;

use super::context::{CalibrationData, Context};
use super::model::Model;
use super::shard::Shard;
use crate::error::Result;
use crate::evaluate::beta::calibrate;
use crate::evaluate::journal::{Journal, ModelKey};
use crate::evaluate::metrics::Outcome;
use crate::evaluate::schedule::Schedule;
use crate::result::loss::Beta;
use crate::space::mix::Mix;

/// What calibrates the models of one evaluation.
pub struct Calibration<'r> {
    context: &'r Context<'r>,
    /// Keeps the β of each model.
    journal: &'r Journal,
    data: CalibrationData,
    /// `models[model]`: the keys.
    models: Vec<ModelKey>,
    batch: usize,
    /// All samples of the data set, unless the only chunk of data holds them or the β of all models are
    /// known.
    samples: Option<Shard>,
}

/// A model's logits on all samples that calibrate it.
struct ValidationLogits {
    classes: usize,
    values: Vec<f32>,
}

impl ValidationLogits {
    fn row(&self, sample: usize) -> &[f32] {
        &self.values[sample * self.classes..(sample + 1) * self.classes]
    }
}

impl<'r> Calibration<'r> {
    /// What calibrates the models of a schedule; `None` unless losses are calibrated.
    ///
    /// # Errors
    /// Fails when the frozen part cannot be run, or the user stopped the run.
    pub fn new(
        context: &'r Context<'r>,
        journal: &'r Journal,
        schedule: &Schedule,
    ) -> Result<Option<Self>> {
        let Some(data) = context.calibration else {
            return Ok(None);
        };
        let is_in_chunk = schedule.ends.len() == 1 && schedule.whole()[data.set] == data.samples;
        let mut models = schedule.models.iter();
        let are_known = models.all(|model| journal.beta(*model).is_some());
        let samples = if is_in_chunk || are_known {
            None
        } else {
            let (shard, _) = context.shard(data.set, 0..data.samples, schedule.batch)?;
            Some(shard)
        };
        Ok(Some(Self {
            context,
            journal,
            data,
            models: schedule.models.clone(),
            batch: schedule.batch,
            samples,
        }))
    }

    /// The calibrated outcomes of the model at `index` on samples of a chunk, `outcomes[data
    /// set][sample]`. Its β is found first where it is not known; what is computed for that on samples
    /// of the chunk is not computed again.
    ///
    /// # Errors
    /// Fails when the network cannot be run, or the user stopped the run.
    pub fn outcomes(
        &self,
        index: usize,
        (model, mix): (&mut Model, Option<&Mix>),
        chunk: &[Shard],
        places: &[Range<usize>],
    ) -> Result<Vec<Vec<Outcome>>> {
        let key = self.models[index];
        let (beta, logits) = match self.journal.beta(key) {
            Some(beta) => (beta, None),
            None => {
                let (beta, logits) = self.find((&mut *model, mix), chunk)?;
                self.journal.keep_beta(key, beta)?;
                (beta, Some(logits))
            }
        };
        let shards = chunk.iter().zip(places);
        let outcomes = shards.map(|(shard, places)| {
            let known = logits.as_ref().filter(|_| shard.dataset == self.data.set);
            let mut outcomes = Vec::with_capacity(places.len());
            let mut add = |row: usize, logits: &[f32]| {
                let label = shard.labels[row];
                outcomes.push(Outcome::calibrated(logits, beta.value, label));
            };
            match known {
                Some(logits) => {
                    let places = places.clone();
                    places
                        .into_iter()
                        .for_each(|place| add(place - shard.begin, logits.row(place)));
                }
                None => self.run((&mut *model, mix), shard, places.clone(), add)?,
            }
            Ok(outcomes)
        });
        outcomes.collect()
    }

    /// Runs a model on all samples that calibrate it, and finds its β.
    fn find(
        &self,
        model: (&mut Model, Option<&Mix>),
        chunk: &[Shard],
    ) -> Result<(Beta, ValidationLogits)> {
        let CalibrationData {
            set,
            samples,
            classes,
        } = self.data;
        let shard = self.samples.as_ref().unwrap_or(&chunk[set]);
        let mut values = Vec::with_capacity(samples * classes);
        self.run(model, shard, 0..samples, |_, logits| {
            values.extend_from_slice(logits);
        })?;
        let logits = ValidationLogits { classes, values };
        let beta = calibrate(&shard.labels, classes, |sample, row| {
            let pairs = row.iter_mut().zip(logits.row(sample));
            pairs.for_each(|(wide, logit)| *wide = f64::from(*logit));
        });
        Ok((beta, logits))
    }

    /// Runs a model on the samples at `places` of a data set's order, and passes each row of the shard
    /// with its logits to `visit`.
    fn run(
        &self,
        (model, mix): (&mut Model, Option<&Mix>),
        shard: &Shard,
        places: Range<usize>,
        mut visit: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        for rows in shard.batches(places, self.batch) {
            self.context.setup.check_stop()?;
            model.logits(self.context, mix, shard, rows, |row, logits| {
                visit(rows.0 + row, logits);
            })?;
        }
        Ok(())
    }
}
