//! Evaluating mixes with ONNX Runtime.
//!
//! The network is written once with its moving weights left out ([`crate::graph::skeleton`]). In
//! the *baked* binding each mix gets a session of its own, its weights handed over from memory as
//! external initializers, before the runtime optimizes, so that it folds, packs and lays out the
//! mixed weights as it would a file's. (`with_initializer` would come too late and give silently
//! wrong results.) In the *in-graph* binding the graph mixes the weights
//! ([`crate::graph::in_graph`]) and one session serves all mixes; with weights as *inputs* one
//! session does, too, and the runtime cannot pack them, which costs convolutions much and
//! transformers nothing. What no moving weight touches is computed once for each chunk of data.
//!
//! Lowest first: values (`options`, `binding`, `layout`, `feed`), what is given (`setup`), data made
//! ready (`shard`), the frozen part (`prefix`, `independence`, `frozen`), the immutable `context` of a
//! run, models in sessions (`model`, `worker`), the experiment that chooses a layout (`tuning`), the
//! check of θ0 (`origin_check`), and the `engine` that answers. No file uses one above it.

mod binding;
mod buffer;
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
mod layout;
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
mod tuning;
mod worker;

pub use self::binding::Binding;
pub use self::counts::Counts;
pub use self::engine::{Engine, JournalOptions};
pub use self::graphs::{check_gradient, frozen_nodes};
pub use self::layout::{Layout, Timing};
pub use self::options::{BindingChoice, Device, EvaluationOptions, Losses};
pub use self::original::OriginalModel;
