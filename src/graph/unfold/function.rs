//! Functions of one number that exporters fold.

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// −x.
    Neg,
    /// eˣ.
    Exp,
    /// |x|.
    Abs,
    /// √x.
    Sqrt,
    /// ln x.
    Log,
    /// ln(1 + eˣ).
    Softplus,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// tanh x.
    Tanh,
    /// 1/x.
    Reciprocal,
}

impl Function {
    /// All functions.
    pub const ALL: [Self; 9] = [
        Self::Neg,
        Self::Exp,
        Self::Abs,
        Self::Sqrt,
        Self::Log,
        Self::Softplus,
        Self::Sigmoid,
        Self::Tanh,
        Self::Reciprocal,
    ];

    /// The ONNX operator.
    pub fn operator(self) -> &'static str {
        match self {
            Self::Neg => "Neg",
            Self::Exp => "Exp",
            Self::Abs => "Abs",
            Self::Sqrt => "Sqrt",
            Self::Log => "Log",
            Self::Softplus => "Softplus",
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::Reciprocal => "Reciprocal",
        }
    }

    /// Its value.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Neg => -x,
            Self::Exp => x.exp(),
            Self::Abs => x.abs(),
            Self::Sqrt => x.sqrt(),
            Self::Log => x.ln(),
            // Without overflow for large x.
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Reciprocal => 1.0 / x,
        }
    }

    /// Its derivative.
    pub fn slope(self, x: f64) -> f64 {
        match self {
            Self::Neg | Self::Abs => 1.0,
            Self::Exp => x.exp(),
            Self::Sqrt => 0.5 / x.sqrt(),
            Self::Log => 1.0 / x,
            Self::Softplus => Self::Sigmoid.of(x),
            Self::Sigmoid => Self::Sigmoid.of(x) * (1.0 - Self::Sigmoid.of(x)),
            Self::Tanh => 1.0 - x.tanh() * x.tanh(),
            Self::Reciprocal => 1.0 / (x * x),
        }
    }

    /// Its rounding error in float32 libraries, relative to its value, in units of 2⁻²⁴.
    pub fn rounding(self) -> f64 {
        match self {
            Self::Neg | Self::Abs => 0.0,
            Self::Sqrt | Self::Reciprocal => 1.0,
            _ => 8.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_their_values_and_slopes() {
        for function in Function::ALL {
            let x = 0.7;
            let step = 1e-6;
            let slope = (function.of(x + step) - function.of(x - step)) / (2.0 * step);
            assert!(
                (slope.abs() - function.slope(x).abs()).abs() < 1e-8,
                "{function:?}"
            );
        }
        assert_eq!(Function::Softplus.of(1000.0), 1000.0);
        assert!((Function::Softplus.of(0.0) - 2f64.ln()).abs() < 1e-15);
    }
}
