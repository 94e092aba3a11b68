//! Samples of one data set, prepared once for all models: in memory, and on the devices where that
//! pays. Reads data; runs nothing.

use std::ops::Range;

use ort::memory::AllocationDevice;
use ort::session::SessionInputValue;
use ort::value::{DynTensorValueType, DynValue};

use super::buffer::{Buffer, SampleRows};
use super::options::Device;
use super::setup::{Setup, failed};
use crate::data::Dataset;
use crate::error::Result;

/// Samples of one data set. Rows are counted within the shard, from 0.
pub struct Shard {
    /// Index of the data set.
    pub dataset: usize,
    /// Place of the first sample in the data set's order, if the samples are consecutive.
    pub begin: usize,
    /// `labels[row]`: the classes.
    pub labels: Vec<usize>,
    /// `inputs[input]`: the inputs of the network.
    pub inputs: Vec<SampleRows>,
    /// `features[feature]`: the output of the network's frozen part.
    pub features: Vec<SampleRows>,
    /// The labels as a network takes them, [samples, 1].
    classes: SampleRows,
    /// The batch size that the network fixes, if any.
    fixed_batch: Option<usize>,
    /// `resident[device][batch]`: copies in the memory of each device, if uploaded.
    resident: Vec<Vec<Batch>>,
    /// Samples per resident batch.
    batch: usize,
}

/// A batch in the memory of a device.
struct Batch {
    rows: (usize, usize),
    inputs: Vec<DynValue>,
    features: Vec<DynValue>,
    classes: DynValue,
}

impl Shard {
    /// The samples at `places` of a data set's order, as the network takes them, without features.
    pub fn range(setup: &Setup<'_>, dataset: usize, places: Range<usize>) -> Self {
        let begin = places.start;
        Self {
            begin,
            ..Self::gather(setup, dataset, &places.collect::<Vec<usize>>())
        }
    }

    /// Samples that need not be consecutive, as the network takes them; rows are in the order of
    /// `places`.
    pub fn gather(setup: &Setup<'_>, dataset: usize, places: &[usize]) -> Self {
        Self {
            dataset,
            ..Self::of(setup, &setup.datasets[dataset], places)
        }
    }

    /// Samples of any data set, as [`Shard::gather`] takes them from one that is evaluated.
    pub fn of(setup: &Setup<'_>, data: &Dataset, places: &[usize]) -> Self {
        let inputs = (0..setup.signature.inputs.len()).map(|input| {
            let len = places.len() * data.sample_len(input);
            let mut buffer = Buffer::new(data.dtype(input), len);
            data.gather(input, places, buffer.all());
            SampleRows::new(buffer, data.sample_shape(input).to_vec())
        });
        let labels = places.iter().map(|&place| data.order()[place]);
        let labels: Vec<i64> = labels.map(|sample| data.labels()[sample]).collect();
        Self {
            dataset: 0,
            begin: 0,
            // The check of the labels refuses negative ones before any is used.
            labels: labels.iter().map(|&label| label as usize).collect(),
            classes: SampleRows::new(Buffer::I64(labels), vec![1]),
            inputs: inputs.collect(),
            features: Vec::new(),
            fixed_batch: setup.signature.fixed_batch,
            resident: Vec::new(),
            batch: 1,
        }
    }

    /// The rows of the samples at `places` of the data set's order, in batches of `batch`.
    pub fn batches(
        &self,
        places: Range<usize>,
        batch: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (begin, end) = (self.begin, places.end);
        let starts = places.step_by(batch);
        starts.map(move |from| (from - begin, end.min(from + batch) - begin))
    }

    /// Rows `from..to` of an input, for this worker.
    ///
    /// # Errors
    /// Fails when ONNX Runtime cannot create the tensor.
    pub fn input(
        &self,
        input: usize,
        rows: (usize, usize),
        worker: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        self.rows(rows, worker, &self.inputs[input], |it| &it.inputs[input])
    }

    /// Rows `from..to` of a feature.
    ///
    /// # Errors
    /// Fails as [`Shard::input`] does.
    pub fn feature(
        &self,
        feature: usize,
        rows: (usize, usize),
        worker: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        let host = &self.features[feature];
        self.rows(rows, worker, host, |batch| &batch.features[feature])
    }

    /// Rows `from..to` of the labels.
    ///
    /// # Errors
    /// Fails as [`Shard::input`] does.
    pub fn classes(
        &self,
        rows: (usize, usize),
        worker: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        self.rows(rows, worker, &self.classes, |batch| &batch.classes)
    }

    /// A batch's values in the device's memory if they are there, otherwise the rows in main
    /// memory.
    fn rows<'s>(
        &'s self,
        rows: (usize, usize),
        worker: usize,
        host: &'s SampleRows,
        of: impl Fn(&'s Batch) -> &'s DynValue,
    ) -> ort::Result<SessionInputValue<'s>> {
        match self.resident(rows, worker) {
            Some(batch) => Ok(of(batch).into()),
            None => host.view(rows, self.filled(rows)),
        }
    }

    fn resident(&self, rows: (usize, usize), worker: usize) -> Option<&Batch> {
        let devices = self.resident.len();
        let batches = self.resident.get(worker.checked_rem(devices)?)?;
        let batch = batches.get(rows.0 / self.batch)?;
        (batch.rows == rows).then_some(batch)
    }

    /// Uploads every batch to each device, so that it is sent once and not once per model.
    ///
    /// # Errors
    /// Fails when a device's memory is full, or the user stopped the run; the shard is then
    /// unchanged.
    pub fn upload(&mut self, setup: &Setup<'_>, batch: usize) -> Result<()> {
        let (device, numbers) = match &setup.options.device {
            Device::Cpu => (AllocationDevice::CPU, vec![0]),
            Device::Cuda(numbers) => (AllocationDevice::CUDA, numbers.clone()),
        };
        let len = self.labels.len();
        let mut resident = Vec::new();
        for number in numbers {
            let mut batches = Vec::new();
            for from in (0..len).step_by(batch) {
                setup.check_stop()?;
                let rows = (from, len.min(from + batch));
                let uploaded = self.uploaded(rows, &device, number);
                batches
                    .push(uploaded.map_err(|error| {
                        failed("putting data into the device's memory", &error)
                    })?);
            }
            resident.push(batches);
        }
        (self.resident, self.batch) = (resident, batch);
        Ok(())
    }

    fn uploaded(
        &self,
        rows: (usize, usize),
        device: &AllocationDevice<'_>,
        number: i32,
    ) -> ort::Result<Batch> {
        let filled = self.filled(rows);
        let copied = |values: &SampleRows| -> ort::Result<DynValue> {
            // Must own its data: with a borrowed tensor this version of ort waits for itself.
            let tensor = values
                .copy(rows, filled)?
                .downcast::<DynTensorValueType>()?;
            Ok(tensor.to(device.clone(), number)?.into_dyn())
        };
        let all = |values: &[SampleRows]| values.iter().map(copied).collect::<ort::Result<_>>();
        Ok(Batch {
            rows,
            inputs: all(&self.inputs)?,
            features: all(&self.features)?,
            classes: copied(&self.classes)?,
        })
    }

    /// The number of rows that a batch is padded to.
    fn filled(&self, (from, to): (usize, usize)) -> usize {
        self.fixed_batch.unwrap_or(to - from)
    }
}
