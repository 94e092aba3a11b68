//! Evaluating mixes with ONNX Runtime.
//!
//! The network is written once with its moving weights left out ([`crate::graph::skeleton`]). In
//! the *baked* binding each mix gets its own session: the weights are passed from memory as
//! external initializers before the runtime optimizes, so that it folds, packs and lays out the
//! mixed weights as it would those of a file. (`with_initializer` would come too late and silently
//! give wrong results.) In the *in-graph* binding the graph mixes the weights
//! ([`crate::graph::in_graph`]) and one session serves all mixes. With weights as *inputs* one
//! session also serves all mixes, but the runtime cannot pack the weights; this slows convolutions
//! down a lot and transformers not at all. The part of the network that no moving weight touches is
//! computed once for each chunk of data.
//!
//! Files, lowest first: values (`options`, `binding`, `layout`, `feed`, `keys`), a model as it is
//! handed over (`light_model`), the given inputs (`setup`), prepared data (`shard`), mixed tensors
//! (`weights`), batch norm's statistics (`statistics`), the frozen part (`prefix`, `independence`,
//! `frozen`), the immutable `context` of a run, models in sessions (`model`, `worker`), what
//! calibrates their losses (`calibration`), the
//! experiment that chooses a layout (`tuning`), the check of θ0 (`origin_check`), and the `engine`
//! that answers. No file uses one above it.

mod binding;
mod buffer;
mod calibration;
mod chunk_cache;
mod context;
mod counts;
mod engine;
mod evaluation;
mod feature;
mod feed;
mod frozen;
pub mod gradient;
mod graphs;
mod independence;
mod keys;
mod layout;
mod light_model;
mod limits;
mod logits;
mod memory;
mod model;
mod moving;
mod options;
mod origin_check;
mod original;
mod prefix;
mod setup;
mod shard;
mod statistics;
mod tuning;
mod weights;
mod worker;

pub use self::binding::Binding;
pub use self::counts::Counts;
pub use self::engine::{Engine, JournalOptions};
pub use self::graphs::{check_gradient, frozen_nodes};
pub use self::layout::{Layout, Timing};
pub use self::memory::check_fits;
pub use self::options::{BindingChoice, Device, EvaluationOptions, Losses};
pub use self::original::OriginalModel;
pub use self::statistics::StatisticsData;
