//! The given inputs of an evaluation, before any graph is written: runtime, checkpoints, data and
//! options. Builds sessions on the devices; knows no graph.

use std::sync::atomic::{AtomicBool, Ordering};

use ort::ep;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::light_model::{LightModel, LightSession};
use super::options::{Device, EvaluationOptions};
use crate::checkpoint::onnx::proto::ModelProto;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::runtime::Runtime;
use crate::evaluate::signature::Signature;
use crate::space::pool::Pool;

/// The given inputs of an evaluation.
pub struct Setup<'a> {
    /// Builds and runs sessions.
    pub runtime: &'a Runtime,
    /// The checkpoints, tensor by tensor.
    pub pool: &'a Pool,
    /// Inputs and output of the network.
    pub signature: Signature,
    /// The data sets, at least one.
    pub datasets: &'a [Dataset],
    /// How to run.
    pub options: EvaluationOptions,
    /// Whether the user asked to stop the run.
    pub stop: &'a AtomicBool,
}

impl Setup<'_> {
    /// Checks whether the user stopped the run.
    ///
    /// # Errors
    /// Fails once the user stopped the run.
    pub fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        Ok(())
    }

    /// The number of samples in all data sets.
    pub fn samples(&self) -> usize {
        self.datasets.iter().map(Dataset::len).sum()
    }

    /// A builder of sessions with `threads` threads for this worker. Workers are assigned to the
    /// devices round-robin.
    ///
    /// # Errors
    /// Fails when ONNX Runtime cannot use the device.
    pub fn builder(&self, threads: usize, worker: usize) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(self.runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?;
        let Device::Cuda(devices) = &self.options.device else {
            // A memory plan for the activations takes extra memory and saves no time here.
            return Ok(builder.with_memory_pattern(false)?);
        };
        let cuda = ep::CUDA::default()
            .with_device_id(devices[worker % devices.len()])
            .with_tf32(self.options.tf32);
        // Otherwise ONNX Runtime would silently compute on the CPU.
        Ok(builder.with_execution_providers([cuda.build().error_on_failure()])?)
    }

    /// A model as it is handed to ONNX Runtime.
    pub fn light(&self, model: ModelProto) -> LightModel {
        LightModel::new(model, self.options.inside)
    }

    /// A session over a model that needs nothing more.
    ///
    /// # Errors
    /// Fails when ONNX Runtime refuses the model.
    pub fn session(
        &self,
        model: &LightModel,
        threads: usize,
        worker: usize,
    ) -> Result<LightSession> {
        let session = self
            .builder(threads, worker)
            .and_then(|builder| model.commit(builder));
        session.map_err(|error| failed("building the session", &error))
    }

    /// Checks that ONNX Runtime can use the requested device.
    ///
    /// # Errors
    /// Fails when it cannot; the message says what is missing.
    pub fn check_device(&self) -> Result<()> {
        let Device::Cuda(devices) = &self.options.device else {
            return Ok(());
        };
        let providers = self.runtime.providers();
        if !providers.iter().any(|name| name == "CUDAExecutionProvider") {
            return Err(Error::flag(
                "--device",
                format!(
                    "{} has no CUDA provider; it has {}",
                    self.runtime.library().display(),
                    providers.join(", ")
                ),
            )
            .help(
                "pip install onnxruntime-gpu in the active environment, or name its library with \
                 --onnxruntime PATH",
            ));
        }
        let mut built = (0..devices.len()).map(|device| self.builder(1, device).map(|_| ()));
        built.try_for_each(|built| built).map_err(|error| {
            Error::runtime("--device", format!("CUDA cannot be used: {error}")).help(
                "the message names what is missing: a driver, CUDA or cuDNN on the loader's path",
            )
        })
    }
}

/// The error for a batch of `samples` samples that ONNX Runtime could not run.
pub fn failed_batch(step: &str, error: &ort::Error, samples: usize) -> Error {
    let text = error.to_string().to_lowercase();
    let of_shapes = ["reshape", "broadcast", "dimension", "concat"];
    let failed = failed(step, error);
    if samples < 2 || !of_shapes.iter().any(|word| text.contains(word)) {
        return failed;
    }
    failed.help(format!(
        "this was a batch of {samples} samples: an export whose example is a single sample may fix the \
         batch size to 1; export with an example of 2 samples and a dynamic batch, \
         torch.onnx.export(model, (x[:2],), ..., dynamic_shapes=({{0: \
         torch.export.Dim(\"batch\")}},))"
    ))
}

/// The error for a step in which ONNX Runtime failed.
pub fn failed(step: &str, error: &ort::Error) -> Error {
    Error::runtime(format!("ONNX Runtime, {step}"), error)
}
