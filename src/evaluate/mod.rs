//! Evaluating mixes on data.
