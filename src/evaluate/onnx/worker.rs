//! A worker: the sessions of one thread, and the buffers that mixed weights are written to. Sees
//! only the context, not the run.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use ort::value::DynValue;

use super::binding::Binding;
use super::context::Context;
use super::layout::Layout;
use super::light_model::LightSession;
use super::limits;
use super::model::Model;
use super::original::OriginalModel;
use super::setup::failed;
use super::weights::{empty, upload};
use crate::error::{Error, Result};
use crate::graph::{in_graph, skeleton};
use crate::space::mix::{Mix, Scratch};

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
        let filled = self.fill_inputs(binding, mix);
        filled.map_err(|error| failed("mixing weights", &error))?;
        self.last_model()
    }

    /// The mix with the statistics that are re-estimated for it, if they are.
    ///
    /// # Errors
    /// Fails when the training samples cannot be run, or the user stopped the run.
    pub fn settled<'m>(&self, mix: &'m Mix) -> Result<Cow<'m, Mix>> {
        self.context.settled(mix, self.layout.threads, self.number)
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

    /// Writes a mix's weights into those inputs of the session that take them.
    fn fill_inputs(&mut self, binding: Binding, mix: &Mix) -> ort::Result<()> {
        let Some((model, _)) = &mut self.built else {
            return Ok(());
        };
        let context = self.context;
        let pool = context.setup.pool;
        for (at, tensor) in context.moving.iter().enumerate() {
            let parameter = &pool.parameters[tensor.parameter];
            let is_input = match binding {
                Binding::Baked => false,
                Binding::InGraph => parameter.is_buffer(),
                Binding::Inputs => true,
            };
            if !is_input {
                continue;
            }
            let value = match model.weights.entry(at) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(empty(parameter.dtype, &parameter.shape)?),
            };
            upload(pool, tensor.parameter, mix, value, &mut self.scratch)?;
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
            OriginalModel::Generated(mix, write) => {
                let mix = self.settled(mix)?;
                let model = setup.light(write(&mix));
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
            if parameter.is_buffer() {
                continue;
            }
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
