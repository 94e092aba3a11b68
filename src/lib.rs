//! The loss surface between fine-tuned checkpoints: can they be averaged, and what is the best
//! average?
//!
//! # The one idea
//!
//! Every model here is a *mix*: θ(c) = Σᵢ cᵢ θᵢ over an initialization θ0 and checkpoints fine-tuned
//! from it, with coefficients that sum to 1. θ0 is (1, 0, 0), the soup of two checkpoints (0, ½, ½),
//! and a point of the plane through the three is a mix, too. So there is one
//! [`Evaluator`](evaluate::Evaluator), and it takes mixes. An analysis decides which mixes to ask
//! for and arranges the answers; a figure reads results alone.
//!
//! # The way of the data
//!
//! ```text
//! files ─ checkpoint, data ─→ space: matched with the network, one pool of parameters
//!                               │ mixes                     (graph: edits of the ONNX graph)
//!                               ▼
//!                            evaluate ←─ analysis: which mixes, and what the answers mean
//!                               │ scores
//!                               ▼
//!  experiment::x::run(&Session, &Settings, &dyn Observer) → result → CSV, JSON, figure
//! ```
//!
//! A program of yours begins with a [`Session`](experiment::session::Session) and calls an
//! experiment; `examples/plane.rs` is a whole one:
//!
//! ```no_run
//! use landscape::data::Source;
//! use landscape::experiment::candidates::{Candidate, Candidates};
//! use landscape::experiment::{line, session::Session, settings::SessionSettings};
//! use landscape::result::loss::LossKind;
//! use landscape::result::score::Role;
//!
//! # fn main() -> landscape::error::Result<()> {
//! let models = Candidates::Files(vec![Candidate::file("ft1"), Candidate::file("ft2")]);
//! let data = vec![Source::new("test", Role::Test, "test.npz")];
//! let session = Session::open(SessionSettings::new("zs.onnx", models, data), &())?;
//! let settings = line::LineSettings {
//!     from_origin: false,
//!     alphas: line::Alphas::Steps(11),
//!     loss: LossKind::Plain,
//! };
//! let line = line::run(&session, &settings, &())?;
//! for barrier in &line.summary.barriers {
//!     println!("{}: {:.4} nats", barrier.dataset, barrier.barrier_loss);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ONNX Runtime is found as the program finds it; `landscape doctor` shows where it looks. From
//! version 1.32 on, ONNX Runtime sends telemetry. The unsafe function
//! [`disable_telemetry`](evaluate::runtime::disable_telemetry) switches it off if a program calls
//! it first, or set `ORT_DISABLE_TELEMETRY=1`.
//!
//! # Where things are added
//!
//! | what | where |
//! |---|---|
//! | a soup method | a variant of [`Method`](result::method::Method), its mix in [`analysis::soup`] (formulas in [`analysis::averages`]) |
//! | an analysis | mathematics in [`analysis`], a result in [`result`], `run` in [`experiment`], a command in [`cli`] |
//! | an operator's gradient | a rule in `graph/gradient/rules` and its entry in the table of `rules/mod.rs`; a case in `tests/gradient` |
//! | a figure | a file in [`figure`] that reads a result; `cli/report/figures.rs` writes it |
//! | a checkpoint format | a reader in [`checkpoint`] that gives named tensors |
//! | a data format | a reader in [`data`] that gives arrays by input name |
//! | a flag | `cli/args`; it becomes a setting there, and nothing behind it sees it |
//!
//! # Layers
//!
//! The modules below stand in the order of their layers; blank lines separate layers. A module may
//! use modules of the layers above it in this list only. A test reads the list and checks all code.

pub mod error;

pub mod base;

pub mod result;

pub mod checkpoint;
pub mod data;

pub mod graph;

pub mod space;

pub mod evaluate;

pub mod analysis;

pub mod experiment;
pub mod figure;

pub mod cli;
