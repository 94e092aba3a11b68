//! How a tensor is computed from the tensors of a state dict.

use super::array::Array;
use super::function::Function;

/// How a tensor is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A tensor of the state dict, by the name that the graph uses for it.
    Raw(String),
    /// Another shape.
    Reshape(Box<Self>, Vec<usize>),
    /// Another order of axes.
    Transpose(Box<Self>, Vec<usize>),
    /// A range along an axis: axis, start, end.
    Slice(Box<Self>, usize, usize, usize),
    /// Rows at constant indices: those of the first axis.
    Rows(Box<Self>, Vec<usize>),
    /// Parts along an axis.
    Concat(Vec<Self>, usize),
    /// Repetition along axes of size 1.
    Expand(Box<Self>, Vec<usize>),
    /// A function of each element.
    Of(Function, Box<Self>),
    /// A product with a constant.
    Scaled(Box<Self>, f64),
    /// A sum with a constant.
    Shifted(Box<Self>, f64),
    /// A sum, with broadcasting.
    Sum(Box<Self>, Box<Self>),
    /// A product, with broadcasting.
    Product(Box<Self>, Box<Self>),
    /// A quotient, with broadcasting.
    Quotient(Box<Self>, Box<Self>),
    /// The mean over the last axis, which stays with size 1.
    Mean(Box<Self>),
    /// Equal elements.
    Filled(Vec<usize>, f64),
}

impl Expression {
    /// A tensor of the state dict.
    pub fn raw(name: &str) -> Self {
        Self::Raw(name.to_string())
    }

    /// In another shape.
    pub fn reshape(self, shape: &[usize]) -> Self {
        Self::Reshape(Box::new(self), shape.to_vec())
    }

    /// With axes in another order.
    pub fn transpose(self, order: &[usize]) -> Self {
        Self::Transpose(Box::new(self), order.to_vec())
    }

    /// A range along an axis.
    pub fn slice(self, axis: usize, start: usize, end: usize) -> Self {
        Self::Slice(Box::new(self), axis, start, end)
    }

    /// Rows at constant indices.
    pub fn rows(self, indices: &[usize]) -> Self {
        Self::Rows(Box::new(self), indices.to_vec())
    }

    /// Repeated along axes of size 1.
    pub fn expand(self, shape: &[usize]) -> Self {
        Self::Expand(Box::new(self), shape.to_vec())
    }

    /// A function of each element.
    pub fn of(self, function: Function) -> Self {
        Self::Of(function, Box::new(self))
    }

    /// Times a constant.
    pub fn scaled(self, by: f64) -> Self {
        Self::Scaled(Box::new(self), by)
    }

    /// Plus a constant.
    pub fn shifted(self, by: f64) -> Self {
        Self::Shifted(Box::new(self), by)
    }

    /// Plus another.
    pub fn plus(self, other: Self) -> Self {
        Self::Sum(Box::new(self), Box::new(other))
    }

    /// Times another.
    pub fn times(self, other: Self) -> Self {
        Self::Product(Box::new(self), Box::new(other))
    }

    /// Divided by another.
    pub fn over(self, other: Self) -> Self {
        Self::Quotient(Box::new(self), Box::new(other))
    }

    /// The mean over the last axis.
    pub fn mean(self) -> Self {
        Self::Mean(Box::new(self))
    }

    /// The mean of squares over the last axis.
    pub fn mean_square(self) -> Self {
        self.clone().times(self).mean()
    }

    /// Its value; `raw` gives the state dict's tensors. `None` if shapes do not fit.
    pub fn value(&self, raw: &dyn Fn(&str) -> Option<Array>) -> Option<Array> {
        let of = |it: &Self| it.value(raw);
        match self {
            Self::Raw(name) => raw(name),
            Self::Reshape(it, shape) => of(it)?.reshape(shape),
            Self::Transpose(it, order) => of(it)?.transpose(order),
            Self::Slice(it, axis, start, end) => of(it)?.slice(*axis, *start, *end),
            Self::Rows(it, indices) => of(it)?.rows(indices),
            Self::Concat(parts, axis) => {
                let parts = parts.iter().map(of).collect::<Option<Vec<_>>>()?;
                Array::concat(&parts, *axis)
            }
            Self::Expand(it, shape) => of(it)?.expand(shape),
            Self::Of(function, it) => Some(of(it)?.map(*function)),
            Self::Scaled(it, by) => Some(of(it)?.scaled(*by)),
            Self::Shifted(it, by) => Some(of(it)?.shifted(*by)),
            Self::Sum(a, b) => of(a)?.sum(&of(b)?),
            Self::Product(a, b) => of(a)?.product(&of(b)?),
            Self::Quotient(a, b) => of(a)?.quotient(&of(b)?),
            Self::Mean(it) => of(it)?.mean(),
            Self::Filled(shape, value) => Some(Array::filled(shape, *value)),
        }
    }

    /// The expressions inside it.
    pub fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Raw(_) | Self::Filled(..) => Vec::new(),
            Self::Concat(parts, _) => parts.iter().collect(),
            Self::Sum(a, b) | Self::Product(a, b) | Self::Quotient(a, b) => vec![a, b],
            Self::Reshape(it, _)
            | Self::Transpose(it, _)
            | Self::Slice(it, ..)
            | Self::Rows(it, _)
            | Self::Expand(it, _)
            | Self::Of(_, it)
            | Self::Scaled(it, _)
            | Self::Shifted(it, _)
            | Self::Mean(it) => vec![it],
        }
    }

    /// Names of the state dict's tensors in it, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect_names(&mut names);
        names
    }

    fn collect_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        if let Self::Raw(name) = self
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
        for part in self.parts() {
            part.collect_names(names);
        }
    }

    /// Whether it is a tensor of the state dict as it is.
    pub fn is_raw(&self) -> bool {
        matches!(self, Self::Raw(_))
    }

    /// The formula, for readers.
    pub fn formula(&self) -> String {
        match self {
            Self::Raw(name) => name.clone(),
            Self::Transpose(it, _) => format!("{} transposed", it.formula()),
            Self::Reshape(it, shape) => format!("{} as {shape:?}", it.formula()),
            Self::Slice(it, axis, start, end) => {
                format!("{}[{start}..{end} of axis {axis}]", it.formula())
            }
            Self::Rows(it, indices) => format!("{}[{} rows]", it.formula(), indices.len()),
            Self::Concat(parts, _) => {
                let parts: Vec<String> = parts.iter().map(Self::formula).collect();
                format!("[{}]", parts.join("; "))
            }
            Self::Expand(it, _) => format!("{} repeated", it.formula()),
            Self::Of(Function::Neg, it) => format!("−{}", it.formula()),
            Self::Of(function, it) => {
                format!("{}({})", function.operator().to_lowercase(), it.formula())
            }
            Self::Scaled(it, by) => format!("{by:.6} · {}", it.formula()),
            Self::Shifted(it, by) => format!("({} + {by})", it.formula()),
            Self::Sum(a, b) => format!("({} + {})", a.formula(), b.formula()),
            Self::Product(a, b) => format!("{} · {}", a.formula(), b.formula()),
            Self::Quotient(a, b) => format!("{} / {}", a.formula(), b.formula()),
            Self::Mean(it) => format!("mean({})", it.formula()),
            Self::Filled(_, value) => format!("constant {value}"),
        }
    }

    /// Whether its elements are those of the state dict, rearranged.
    pub fn is_layout(&self) -> bool {
        let own = matches!(
            self,
            Self::Raw(_)
                | Self::Reshape(..)
                | Self::Transpose(..)
                | Self::Slice(..)
                | Self::Rows(..)
                | Self::Concat(..)
                | Self::Expand(..)
        );
        own && self.parts().into_iter().all(Self::is_layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_evaluated_and_names_its_tensors() {
        // −exp(a) + 2·aᵀ with a = [[0, 1], [2, 3]].
        let raw =
            |name: &str| (name == "a").then(|| Array::exact(vec![2, 2], vec![0.0, 1.0, 2.0, 3.0]));
        let exp = Expression::raw("a").of(Function::Exp).of(Function::Neg);
        let twice = Expression::raw("a").transpose(&[1, 0]).scaled(2.0);
        assert!(Expression::raw("a").transpose(&[1, 0]).is_layout() && !twice.is_layout());
        let sum = exp.plus(twice);
        let value = sum.value(&raw).unwrap();
        assert!((value.data[1] - (4.0 - 1f64.exp())).abs() < 1e-15);
        assert_eq!(sum.names(), ["a"]);
        assert_eq!(Expression::raw("b").value(&raw), None);
        let square = Expression::raw("a").mean_square().value(&raw).unwrap();
        assert_eq!(square.data, [0.5, 6.5]);
    }
}
