//! Samples of one data set made ready for every model.

use std::ops::Range;

use ort::memory::AllocationDevice;
use ort::session::SessionInputValue;
use ort::value::{DynTensorValueType, DynValue};

use super::buffer::Buffer;
use super::options::Device;
use super::{Engine, failed};
use crate::error::Result;

/// Consecutive samples of one data set.
pub struct Shard {
    /// Index of the data set.
    pub dataset: usize,
    /// Place of the first sample in the data set's order.
    pub begin: usize,
    /// Classes.
    pub labels: Vec<usize>,
    /// What the network takes: one buffer an input.
    pub inputs: Vec<Buffer>,
    /// What the frozen part of the network made of it: one buffer a value of the frontier.
    pub features: Vec<Buffer>,
    /// The labels as a network takes them, [samples, 1].
    classes: Buffer,
    /// The same batches in the memory of each device, where they are kept there.
    resident: Vec<Vec<Batch>>,
    /// Samples a batch of these.
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
    /// Samples of a data set, by their places in its order, as the network takes them; without
    /// features.
    pub fn new(engine: &Engine<'_>, dataset: usize, places: Range<usize>) -> Self {
        let begin = places.start;
        Self {
            begin,
            ..Self::at(engine, dataset, &places.collect::<Vec<usize>>())
        }
    }

    /// The same for samples that need not follow each other; a place in the part is theirs in the
    /// list.
    pub fn at(engine: &Engine<'_>, dataset: usize, places: &[usize]) -> Self {
        let data = &engine.datasets[dataset];
        let inputs = (0..engine.signature.inputs.len()).map(|input| {
            let len = places.len() * data.sample_len(input);
            let mut buffer = Buffer::new(data.dtype(input), len);
            data.gather(input, places, buffer.all());
            buffer
        });
        let labels = places.iter().map(|&place| data.order()[place]);
        let labels: Vec<i64> = labels.map(|sample| data.labels()[sample]).collect();
        Self {
            dataset,
            begin: 0,
            // Negative ones are refused before any is used.
            labels: labels.iter().map(|&label| label as usize).collect(),
            classes: Buffer::I64(labels),
            inputs: inputs.collect(),
            features: Vec::new(),
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

    /// Rows `from..to` of an input.
    pub fn input(
        &self,
        engine: &Engine<'_>,
        input: usize,
        rows: (usize, usize),
        device: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        let shape = engine.datasets[self.dataset].sample_shape(input);
        let host = (&self.inputs[input], shape);
        self.rows(engine, rows, device, host, |batch| &batch.inputs[input])
    }

    /// Rows `from..to` of a value of the frontier.
    pub fn feature(
        &self,
        engine: &Engine<'_>,
        feature: usize,
        rows: (usize, usize),
        device: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        let shape: &[usize] = &engine.features()[feature].shape;
        let host = (&self.features[feature], shape);
        self.rows(engine, rows, device, host, |batch| &batch.features[feature])
    }

    /// Rows `from..to` of the labels.
    pub fn classes(
        &self,
        engine: &Engine<'_>,
        rows: (usize, usize),
        device: usize,
    ) -> ort::Result<SessionInputValue<'_>> {
        let host = (&self.classes, &[1][..]);
        self.rows(engine, rows, device, host, |batch| &batch.classes)
    }

    /// A batch's values in the device's memory, where they are, or rows of a buffer whose samples
    /// have a shape.
    fn rows<'p>(
        &'p self,
        engine: &Engine<'_>,
        rows: (usize, usize),
        device: usize,
        (buffer, shape): (&'p Buffer, &[usize]),
        of: impl Fn(&'p Batch) -> &'p DynValue,
    ) -> ort::Result<SessionInputValue<'p>> {
        match self.resident(rows, device) {
            Some(batch) => Ok(of(batch).into()),
            None => buffer.rows(rows, shape, filled(engine, rows)),
        }
    }

    fn resident(&self, rows: (usize, usize), device: usize) -> Option<&Batch> {
        let devices = self.resident.len();
        let batches = self.resident.get(device.checked_rem(devices)?)?;
        let batch = batches.get(rows.0 / self.batch)?;
        (batch.rows == rows).then_some(batch)
    }

    /// Puts every batch into the memory of each device, so that it goes there once and not once a
    /// model.
    ///
    /// # Errors
    /// When a device's memory is full; then the part is as before.
    pub fn settle(&mut self, engine: &Engine<'_>, batch: usize) -> Result<()> {
        let (device, numbers) = match &engine.request.device {
            Device::Cpu => (AllocationDevice::CPU, vec![0]),
            Device::Cuda(numbers) => (AllocationDevice::CUDA, numbers.clone()),
        };
        let len = self.labels.len();
        let mut resident = Vec::new();
        for number in numbers {
            let mut batches = Vec::new();
            for from in (0..len).step_by(batch) {
                engine.check_stop()?;
                let rows = (from, len.min(from + batch));
                let settled = self.settled(engine, rows, &device, number);
                batches
                    .push(settled.map_err(|error| {
                        failed("putting data into the device's memory", &error)
                    })?);
            }
            resident.push(batches);
        }
        (self.resident, self.batch) = (resident, batch);
        Ok(())
    }

    fn settled(
        &self,
        engine: &Engine<'_>,
        rows: (usize, usize),
        device: &AllocationDevice<'_>,
        number: i32,
    ) -> ort::Result<Batch> {
        let filled = filled(engine, rows);
        let copied = |buffer: &Buffer, shape: &[usize]| -> ort::Result<DynValue> {
            // Owned: a borrowed one would wait for itself in this version of ort.
            let owned = buffer.owned(rows, shape, filled)?;
            let tensor = owned.downcast::<DynTensorValueType>()?;
            Ok(tensor.to(device.clone(), number)?.into_dyn())
        };
        let data = &engine.datasets[self.dataset];
        let inputs = self.inputs.iter().enumerate();
        let features = self.features.iter().zip(engine.features());
        Ok(Batch {
            rows,
            inputs: inputs
                .map(|(k, input)| copied(input, data.sample_shape(k)))
                .collect::<ort::Result<_>>()?,
            features: features
                .map(|(values, feature)| copied(values, &feature.shape))
                .collect::<ort::Result<_>>()?,
            classes: copied(&self.classes, &[1])?,
        })
    }
}

/// The rows that a batch is filled up to.
fn filled(engine: &Engine<'_>, (from, to): (usize, usize)) -> usize {
    engine.signature.fixed_batch.unwrap_or(to - from)
}
