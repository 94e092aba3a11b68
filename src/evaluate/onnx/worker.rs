//! A worker: the sessions of one thread, and the buffers that mixed weights are written to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use half::{bf16, f16};
use ort::session::Session;
use ort::value::{DynValue, Tensor};

use super::layout::Layout;
use super::model::Model;
use super::options::Binding;
use super::{Engine, OriginalModel, failed};
use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::graph::in_graph;
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};
use crate::space::pool::Pool;

/// One worker: weight buffers that each session copies from, or a session for all mixes.
pub struct Worker<'e> {
    engine: &'e Engine<'e>,
    layout: Layout,
    number: usize,
    weights: Vec<Arc<DynValue>>,
    scratch: Scratch,
    model: Option<Model>,
    /// How the model's weights came in.
    built: Binding,
}

impl<'e> Worker<'e> {
    /// A worker that has nothing yet.
    pub fn new(engine: &'e Engine<'e>, layout: &Layout) -> Self {
        Self {
            engine,
            layout: *layout,
            number: engine.workers.fetch_add(1, Ordering::Relaxed),
            weights: Vec::new(),
            scratch: Scratch::default(),
            model: None,
            built: Binding::Auto,
        }
    }

    /// The model of a mix.
    ///
    /// # Errors
    /// When ONNX Runtime refuses it.
    pub fn model(&mut self, mix: &Mix) -> Result<&mut Model> {
        // A graph that mixes has one coefficient a member; with rows each mix gets a session.
        let binding = match self.layout.binding {
            Binding::InGraph if mix.shared().is_none() => Binding::Baked,
            binding => binding,
        };
        let is_built = self.model.is_some() && self.built == binding;
        if !is_built || matches!(binding, Binding::Baked | Binding::Auto) {
            let built = self.build(binding, mix);
            built.map_err(|error| failed("building the session", &error))?;
            self.built = binding;
        }
        if binding == Binding::Inputs {
            let filled = self.fill_inputs(mix);
            filled.map_err(|error| failed("mixing weights", &error))?;
        }
        self.model
            .as_mut()
            .ok_or_else(|| Error::runtime("ONNX Runtime", "no session"))
    }

    /// The model of a mix; the one of the call before, where that was of the same mix.
    ///
    /// # Errors
    /// As of [`Worker::model`].
    pub fn model_again(&mut self, mix: &Mix, is_new: bool) -> Result<&mut Model> {
        match is_new {
            true => self.model(mix),
            false => self
                .model
                .as_mut()
                .ok_or_else(|| Error::runtime("ONNX Runtime", "no session")),
        }
    }

    fn build(&mut self, binding: Binding, mix: &Mix) -> ort::Result<()> {
        // The old session's memory is given back before the new one takes as much.
        self.model = None;
        let session = match binding {
            Binding::InGraph => self.mixing_session()?,
            Binding::Inputs => self.open_session()?,
            Binding::Baked | Binding::Auto => self.baked_session(mix)?,
        };
        self.model = Some(Model::new(self.engine, session, self.number)?);
        Ok(())
    }

    fn open_session(&self) -> ort::Result<Session> {
        let mut builder = self.engine.builder(self.layout.threads, self.number)?;
        builder.commit_from_memory(self.engine.graphs.bytes(Binding::Inputs))
    }

    /// Writes a mix's weights where the session reads them.
    fn fill_inputs(&mut self, mix: &Mix) -> ort::Result<()> {
        let Some(model) = &mut self.model else {
            return Ok(());
        };
        let engine = self.engine;
        for (at, (index, _)) in engine.moving.iter().enumerate() {
            if model.weights.len() == at {
                let parameter = &engine.pool.parameters[*index];
                model
                    .weights
                    .push(empty(parameter.dtype, &parameter.shape)?);
            }
            fill(
                engine.pool,
                *index,
                mix,
                &mut model.weights[at],
                &mut self.scratch,
            )?;
        }
        Ok(())
    }

    /// A checkpoint's own file, run as it is.
    ///
    /// # Errors
    /// When ONNX Runtime refuses it.
    pub fn file(&self, file: &OriginalModel<'_>) -> Result<Model> {
        let built = self
            .engine
            .builder(self.layout.threads, self.number)
            .and_then(|mut builder| match file {
                OriginalModel::File(path) => builder.commit_from_file(path).map(Ok),
                OriginalModel::Generated(write) => match write() {
                    Ok(bytes) => builder.commit_from_memory(&bytes).map(Ok),
                    Err(error) => Ok(Err(error)),
                },
            });
        let failed = |error| failed("loading the untouched checkpoint", &error);
        Model::of_file(self.engine, built.map_err(failed)??, self.number).map_err(failed)
    }

    fn baked_session(&mut self, mix: &Mix) -> ort::Result<Session> {
        let engine = self.engine;
        let mut builder = engine.builder(self.layout.threads, self.number)?;
        for (at, (index, name)) in engine.moving.iter().enumerate() {
            let parameter = &engine.pool.parameters[*index];
            if self.weights.len() == at {
                self.weights
                    .push(Arc::new(empty(parameter.dtype, &parameter.shape)?));
            }
            let weight = &mut self.weights[at];
            if Arc::get_mut(weight).is_none() {
                *weight = Arc::new(empty(parameter.dtype, &parameter.shape)?);
            }
            if let Some(value) = Arc::get_mut(weight) {
                fill(engine.pool, *index, mix, value, &mut self.scratch)?;
            }
            builder = builder.with_external_initializer(name, Arc::clone(weight))?;
        }
        builder.commit_from_memory(engine.graphs.bytes(Binding::Baked))
    }

    fn mixing_session(&mut self) -> ort::Result<Session> {
        let engine = self.engine;
        let mut builder = engine.builder(self.layout.threads, self.number)?;
        let members = engine.pool.members.len();
        for (index, name) in &engine.moving {
            let parameter = &engine.pool.parameters[*index];
            for member in 0..members {
                let mix = match member {
                    0 => Mix::unit(0, members),
                    _ => Mix::delta(member, members),
                };
                let mut value = empty(parameter.dtype, &parameter.shape)?;
                fill(engine.pool, *index, &mix, &mut value, &mut self.scratch)?;
                let part = in_graph::part(name, member);
                builder = builder.with_external_initializer(&part, Arc::new(value))?;
            }
        }
        builder.commit_from_memory(engine.graphs.bytes(Binding::InGraph))
    }
}

/// Writes a mixed parameter into a tensor of the graph's type.
pub fn fill(
    pool: &Pool,
    index: usize,
    mix: &Mix,
    value: &mut DynValue,
    scratch: &mut Scratch,
) -> ort::Result<()> {
    let out = match pool.parameters[index].dtype {
        Dtype::F64 => MixOut::F64(value.try_extract_tensor_mut::<f64>()?.1),
        Dtype::F16 => MixOut::F16(value.try_extract_tensor_mut::<f16>()?.1),
        Dtype::Bf16 => MixOut::Bf16(value.try_extract_tensor_mut::<bf16>()?.1),
        _ => MixOut::F32(value.try_extract_tensor_mut::<f32>()?.1),
    };
    mix_into(pool, index, mix, out, scratch);
    Ok(())
}

/// Zeros of a type and shape.
pub fn empty(dtype: Dtype, shape: &[usize]) -> ort::Result<DynValue> {
    let (shape, len) = (shape.to_vec(), shape.iter().product());
    Ok(match dtype {
        Dtype::F64 => Tensor::from_array((shape, vec![0.0_f64; len]))?.into_dyn(),
        Dtype::F16 => Tensor::from_array((shape, vec![f16::ZERO; len]))?.into_dyn(),
        Dtype::Bf16 => Tensor::from_array((shape, vec![bf16::ZERO; len]))?.into_dyn(),
        _ => Tensor::from_array((shape, vec![0.0_f32; len]))?.into_dyn(),
    })
}
