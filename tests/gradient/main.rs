//! The derivative of each operator, alone.
//!
//! A case is a graph of one operator. Its result is weighed with fixed numbers and summed, and the
//! gradient of the sum is taken in its inputs. Three things are asked for:
//! - Widened to float64, the gradient is that of central differences of the widened forward graph,
//!   (s(x+h) − s(x−h))/2h with h = 1e-6·max(1, |x|): an error of h²|s‴|/6 ≈ 1e-12 beside rounding
//!   of about 1e-16·|s|/h ≈ 1e-10, so 1e-6 of the largest element is far above both.
//! - The widened forward graph gives what ONNX Runtime's own float32 kernel gives, to 1e-5.
//! - The gradient in float32 is that in float64 to 1e-4 of the largest element.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attention;
mod case;
mod convolution;
mod elementwise;
mod index;
mod normalize;
mod path;
mod pool;
mod product;
mod pruned;
mod reduce;
mod resize;
mod run;
mod shape;
mod twice;
