//! A worker: the sessions of one thread, and the buffers that mixed weights are written to. Sees
//! only the context, not the run.

use std::sync::Arc;

use half::{bf16, f16};
use ort::value::{DynValue, Tensor};

use super::binding::Binding;
use super::context::Context;
use super::layout::Layout;
use super::light_model::LightSession;
use super::limits;
use super::model::Model;
use super::original::OriginalModel;
use super::setup::failed;

use crate::checkpoint::tensor::Dtype;
use crate::error::{Error, Result};
use crate::graph::{in_graph, skeleton};
use crate::space::mix::{Mix, MixOut, Scratch, mix_into};
use crate::space::pool::Pool;

/// One worker: either weight buffers that each session copies from, or one session for all mixes.
pub struct Worker<'c> {
    context: &'c Context<'c>,
    layout: Layout,
    number: usize,
    weights: Vec<Arc<DynValue>>,
    scratch: Scratch,
    /// The last model that was built, and its binding.
    built: Option<(Model, Binding)>,
}

impl<'c> Worker<'c> {
    /// Creates a worker that holds no session yet.
    pub fn new(context: &'c Context<'c>, layout: &Layout, number: usize) -> Self {
        Self {
            context,
            layout: *layout,
            number,
            weights: Vec::new(),
            scratch: Scratch::default(),
            built: None,
        }
    }

    /// Prepares the model of a mix.
    ///
    /// # Errors
    /// Fails when ONNX Runtime refuses the model.
    pub fn model(&mut self, mix: &Mix) -> Result<&mut Model> {
        // In-graph mixing takes one coefficient per member; a mix with coefficients per tensor gets
        // its own session.
        let binding = match self.layout.binding {
            Binding::InGraph if mix.shared().is_none() => Binding::Baked,
            binding => binding,
        };
        let is_built = self
            .built
            .as_ref()
            .is_some_and(|(_, built)| *built == binding);
        if !is_built || binding == Binding::Baked {
            self.build(binding, mix)?;
        }
        if binding == Binding::Inputs {
            let filled = self.fill_inputs(mix);
            filled.map_err(|error| failed("mixing weights", &error))?;
        }
        self.last_model()
    }

    /// The model of the previous call, or that of `mix` if `is_new`.
    ///
    /// # Errors
    /// Fails as [`Worker::model`] does.
    pub fn model_again(&mut self, mix: &Mix, is_new: bool) -> Result<&mut Model> {
        if is_new {
            self.model(mix)
        } else {
            self.last_model()
        }
    }

    fn last_model(&mut self) -> Result<&mut Model> {
        let built = self.built.as_mut().map(|(model, _)| model);
        built.ok_or_else(|| Error::runtime("ONNX Runtime", "no session"))
    }

    fn build(&mut self, binding: Binding, mix: &Mix) -> Result<()> {
        // Frees the old session before the new one takes as much memory.
        self.built = None;
        let session = match binding {
            Binding::InGraph => self.mixing_session(),
            Binding::Inputs => self.open_session(),
            Binding::Baked => self.baked_session(mix),
        };
        let session = session.map_err(|error| failed("building the session", &error))?;
        let model = Model::new(self.context, session, self.number)?;
        self.built = Some((model, binding));
        Ok(())
    }

    fn open_session(&self) -> ort::Result<LightSession> {
        let builder = self
            .context
            .setup
            .builder(self.layout.threads, self.number)?;
        self.context.graphs.model(Binding::Inputs).commit(builder)
    }

    /// Writes a mix's weights into the inputs of the session.
    fn fill_inputs(&mut self, mix: &Mix) -> ort::Result<()> {
        let Some((model, _)) = &mut self.built else {
            return Ok(());
        };
        let context = self.context;
        for (at, tensor) in context.moving.iter().enumerate() {
            let index = tensor.parameter;
            if model.weights.len() == at {
                let parameter = &context.setup.pool.parameters[index];
                model
                    .weights
                    .push(empty(parameter.dtype, &parameter.shape)?);
            }
            upload(
                context.setup.pool,
                index,
                mix,
                &mut model.weights[at],
                &mut self.scratch,
            )?;
        }
        Ok(())
    }

    /// Loads an original model, to be run unchanged.
    ///
    /// # Errors
    /// Fails when ONNX Runtime refuses the model.
    pub fn file(&self, file: &OriginalModel<'_>) -> Result<Model> {
        let setup = &self.context.setup;
        if let OriginalModel::File(model) = file {
            limits::check(setup, model)?;
        }
        let builder = setup.builder(self.layout.threads, self.number);
        let built = match file {
            OriginalModel::File(model) if model.fits_a_message() => {
                let built = builder.and_then(|mut it| it.commit_from_file(&model.path));
                built.map(LightSession::from)
            }
            // ONNX Runtime cannot read such a file itself.
            OriginalModel::File(model) => {
                let model = setup.light(skeleton::whole(model));
                builder.and_then(|builder| model.commit(builder))
            }
            OriginalModel::Generated(write) => {
                let model = setup.light(write());
                builder.and_then(|builder| model.commit(builder))
            }
        };
        let failed = |error| failed("loading the untouched checkpoint", &error);
        Model::of_file(self.context, built.map_err(failed)?, self.number)
    }

    fn baked_session(&mut self, mix: &Mix) -> ort::Result<LightSession> {
        let context = self.context;
        let mut builder = context.setup.builder(self.layout.threads, self.number)?;
        for (at, tensor) in context.moving.iter().enumerate() {
            let index = tensor.parameter;
            let parameter = &context.setup.pool.parameters[index];
            if self.weights.len() == at {
                self.weights
                    .push(Arc::new(empty(parameter.dtype, &parameter.shape)?));
            }
            let weight = &mut self.weights[at];
            if Arc::get_mut(weight).is_none() {
                *weight = Arc::new(empty(parameter.dtype, &parameter.shape)?);
            }
            if let Some(value) = Arc::get_mut(weight) {
                upload(context.setup.pool, index, mix, value, &mut self.scratch)?;
            }
            builder = builder.with_external_initializer(&tensor.name, Arc::clone(weight))?;
        }
        context.graphs.model(Binding::Baked).commit(builder)
    }

    fn mixing_session(&mut self) -> ort::Result<LightSession> {
        let context = self.context;
        let mut builder = context.setup.builder(self.layout.threads, self.number)?;
        let members = context.members();
        for tensor in &context.moving {
            let index = tensor.parameter;
            let parameter = &context.setup.pool.parameters[index];
            for member in 0..members {
                let mix = match member {
                    0 => Mix::unit(0, members),
                    _ => Mix::delta(member, members),
                };
                let mut value = empty(parameter.dtype, &parameter.shape)?;
                upload(
                    context.setup.pool,
                    index,
                    &mix,
                    &mut value,
                    &mut self.scratch,
                )?;
                let part = in_graph::part(&tensor.name, member);
                builder = builder.with_external_initializer(&part, Arc::new(value))?;
            }
        }
        context.graphs.model(Binding::InGraph).commit(builder)
    }
}

/// Writes a mixed parameter into a tensor of the parameter's type.
///
/// # Errors
/// Fails when the tensor has another type.
pub fn upload(
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

/// A tensor of zeros.
///
/// # Errors
/// Fails when ONNX Runtime has no memory.
pub fn empty(dtype: Dtype, shape: &[usize]) -> ort::Result<DynValue> {
    let (shape, len) = (shape.to_vec(), shape.iter().product());
    Ok(match dtype {
        Dtype::F64 => Tensor::from_array((shape, vec![0.0_f64; len]))?.into_dyn(),
        Dtype::F16 => Tensor::from_array((shape, vec![f16::ZERO; len]))?.into_dyn(),
        Dtype::Bf16 => Tensor::from_array((shape, vec![bf16::ZERO; len]))?.into_dyn(),
        _ => Tensor::from_array((shape, vec![0.0_f32; len]))?.into_dyn(),
    })
}
