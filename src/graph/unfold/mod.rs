//! Unfolding: replaces a tensor that the exporter computed by nodes that compute it from a state
//! dict's tensors.
//!
//! An [`Expression`] says how a tensor is computed. [`mod@array`] evaluates it with a bound on the
//! rounding of the exporter's float32 arithmetic, [`emit`] writes it as nodes, and [`rewrite`]
//! puts a whole [`Plan`](rewrite::Plan) into a model. Which expression explains which tensor is
//! found by values in `space::matching`.

pub mod array;
pub mod emit;
pub mod expression;
pub mod function;
pub mod rewrite;

pub use self::array::Array;
pub use self::expression::Expression;
pub use self::function::Function;
