//! Samples of one data set made ready for every model: in memory, and where that pays on the devices.
//! Reads data; runs nothing.

use std::ops::Range;

use ort::memory::AllocationDevice;
use ort::session::SessionInputValue;
use ort::value::{DynTensorValueType, DynValue};

use super::buffer::{Buffer, SampleRows};
use super::options::Device;
use super::setup::{Setup, failed};
use crate::error::Result;

/// Samples of one data set. Rows are counted within the shard, from 0.
pub struct Shard {
    /// Index of the data set.
    pub dataset: usize,
    /// Place of the first sample in the data set's order, where the samples follow each other there.
    pub begin: usize,
    /// `labels[row]`: classes.
    pub labels: Vec<usize>,
    /// `inputs[input]`: what the network takes.
    pub inputs: Vec<SampleRows>,
    /// `features[feature]`: what the frozen part of the network made of it.
    pub features: Vec<SampleRows>,
    /// The labels as a network takes them, [samples, 1].
    classes: SampleRows,
    /// Rows of a batch that the network fixes.
    fixed_batch: Option<usize>,
    /// `resident[device][batch]`: the same in the memory of each device, where it is kept there.
    resident: Vec<Vec<Batch>>,
    /// Samples of a resident batch.
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
    /// The samples at `places` of a data set's order, as the network takes them; without features.
    pub fn range(setup: &Setup<'_>, dataset: usize, places: Range<usize>) -> Self {
        let begin = places.start;
        Self {
            begin,
            ..Self::gather(setup, dataset, &places.collect::<Vec<usize>>())
        }
    }

    /// The same for samples that need not follow each other; their rows are in the list's order.
    pub fn gather(setup: &Setup<'_>, dataset: usize, places: &[usize]) -> Self {
        let data = &setup.datasets[dataset];
        let inputs = (0..setup.signature.inputs.len()).map(|input| {
            let len = places.len() * data.sample_len(input);
            let mut buffer = Buffer::new(data.dtype(input), len);
            data.gather(input, places, buffer.all());
            SampleRows::new(buffer, data.sample_shape(input).to_vec())
        });
        let labels = places.iter().map(|&place| data.order()[place]);
        let labels: Vec<i64> = labels.map(|sample| data.labels()[sample]).collect();
        Self {
            dataset,
            begin: 0,
            // Negative ones are refused before any is used.
            labels: labels.iter().map(|&label| label as usize).collect(),
            classes: SampleRows::new(Buffer::I64(labels), vec![1]),
            inputs: inputs.collect(),
            features: Vec::new(),
            fixed_batch: setup.signature.fixed_batch,
            resident: Vec::new(),
            batch: 1,
        }
    }

    /// The rows of samples at `places` of the data set's order, a batch at a time.
    pub fn batches(
        &self,
        places: Range<usize>,
        batch: usize,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (begin, end) = (self.begin, places.end);
        let starts = places.step_by(batch);
        starts.map(move |from| (from - begin, end.min(from + batch) - begin))
    }

    /// Rows `from..to` of an input, for the worker of a number.
    ///
    /// # Errors
    /// When ONNX Runtime cannot hold them.
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
    /// As of [`Shard::input`].
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
    /// As of [`Shard::input`].
    pub fn classes(
        &self,
        rows: (usize, usize),
        worker: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        self.rows(rows, worker, &self.classes, |batch| &batch.classes)
    }

    /// A batch's values in the device's memory, where they are, or rows in the machine's.
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

    /// Puts every batch into the memory of each device, so that it goes there once and not once a
    /// model.
    ///
    /// # Errors
    /// When a device's memory is full, or the user stopped the run; then the shard is as before.
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
            // Owned: a borrowed one would wait for itself in this version of ort.
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

    /// The rows that a batch is filled up to.
    fn filled(&self, (from, to): (usize, usize)) -> usize {
        self.fixed_batch.unwrap_or(to - from)
    }
}
