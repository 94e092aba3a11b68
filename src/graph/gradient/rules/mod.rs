//! The derivatives of all operators.

pub mod attention;
mod convolution;
mod elementwise;
mod index;
pub mod normalize;
pub mod pool;
mod product;
mod reduce;
pub mod resize;
mod rule;
mod shape;

use self::rule::Rule;
use crate::checkpoint::onnx::proto::NodeProto;
use crate::graph::editor::is_standard;

/// The derivative of an operator.
#[derive(Clone, Copy)]
pub enum Derivative {
    /// A rule writes it.
    Rule(Rule),
    /// It is zero or undefined everywhere: comparisons, shapes, rounding.
    Zero,
}

use Derivative::{Rule as By, Zero};

/// The derivative of a node's operator, if it is known.
pub fn derivative_of(node: &NodeProto) -> Option<Derivative> {
    let operator = is_standard(node.domain()).then(|| node.op_type())?;
    let mut operators = OPERATORS.iter();
    let found = operators.find(|(name, _)| *name == operator);
    found.map(|(_, derivative)| *derivative)
}

/// Names of the operators that have a rule.
pub fn operators() -> impl Iterator<Item = &'static str> {
    let with_rules = |(name, derivative): &(&'static str, Derivative)| match derivative {
        By(_) => Some(*name),
        Zero => None,
    };
    OPERATORS.iter().filter_map(with_rules)
}

/// Every operator with a derivative, in groups.
const OPERATORS: &[(&str, Derivative)] = &[
    // Elementwise sums and products.
    ("Add", By(elementwise::add)),
    ("Sub", By(elementwise::sub)),
    ("Mul", By(elementwise::mul)),
    ("Div", By(elementwise::div)),
    ("Sum", By(elementwise::sum)),
    ("Mean", By(elementwise::mean)),
    ("Neg", By(elementwise::neg)),
    ("Pow", By(elementwise::pow)),
    ("Min", By(elementwise::extreme)),
    ("Max", By(elementwise::extreme)),
    ("Where", By(elementwise::r#where)),
    // Functions of one number.
    ("Abs", By(elementwise::abs)),
    ("Sqrt", By(elementwise::sqrt)),
    ("Reciprocal", By(elementwise::reciprocal)),
    ("Exp", By(elementwise::exp)),
    ("Log", By(elementwise::log)),
    ("Sin", By(elementwise::sin)),
    ("Cos", By(elementwise::cos)),
    ("Erf", By(elementwise::erf)),
    ("Tanh", By(elementwise::tanh)),
    ("Sigmoid", By(elementwise::sigmoid)),
    ("Relu", By(elementwise::relu)),
    ("LeakyRelu", By(elementwise::leaky_relu)),
    ("PRelu", By(elementwise::p_relu)),
    ("ThresholdedRelu", By(elementwise::thresholded_relu)),
    ("Elu", By(elementwise::elu)),
    ("Selu", By(elementwise::selu)),
    ("Celu", By(elementwise::celu)),
    ("Clip", By(elementwise::clip)),
    ("HardSigmoid", By(elementwise::hard_sigmoid)),
    ("HardSwish", By(elementwise::hard_swish)),
    ("Gelu", By(elementwise::gelu)),
    ("Softplus", By(elementwise::softplus)),
    ("Softsign", By(elementwise::softsign)),
    ("Mish", By(elementwise::mish)),
    ("Swish", By(elementwise::swish)),
    ("Identity", By(elementwise::identity)),
    ("Dropout", By(elementwise::dropout)),
    ("Cast", By(elementwise::cast)),
    ("CastLike", By(elementwise::cast)),
    // Matrices.
    ("MatMul", By(product::matmul)),
    ("Gemm", By(product::gemm)),
    ("Einsum", By(product::einsum)),
    ("Attention", By(attention::attention)),
    // Images.
    ("Conv", By(convolution::conv)),
    ("ConvTranspose", By(convolution::conv_transpose)),
    ("MaxPool", By(pool::max)),
    ("MaxUnpool", By(pool::unpool)),
    ("AveragePool", By(pool::average)),
    ("GlobalAveragePool", By(reduce::global_average)),
    ("GlobalMaxPool", By(reduce::global_max)),
    ("Resize", By(resize::resize)),
    ("DepthToSpace", By(shape::depth_to_space)),
    ("SpaceToDepth", By(shape::space_to_depth)),
    // Over axes.
    ("ReduceSum", By(reduce::sum)),
    ("ReduceMean", By(reduce::mean)),
    ("ReduceMax", By(reduce::extreme)),
    ("ReduceMin", By(reduce::extreme)),
    ("ReduceL1", By(reduce::l1)),
    ("ReduceL2", By(reduce::l2)),
    ("ReduceSumSquare", By(reduce::sum_square)),
    ("ReduceLogSumExp", By(reduce::log_sum_exp)),
    ("CumSum", By(reduce::cumulative)),
    ("Softmax", By(normalize::softmax)),
    ("LogSoftmax", By(normalize::log_softmax)),
    ("LayerNormalization", By(normalize::layer)),
    ("RMSNormalization", By(normalize::root_mean_square)),
    ("GroupNormalization", By(normalize::grouped)),
    ("InstanceNormalization", By(normalize::grouped)),
    ("BatchNormalization", By(normalize::batch)),
    ("LpNormalization", By(normalize::lp)),
    // Rearrangements of elements.
    ("Reshape", By(shape::reshaped)),
    ("Flatten", By(shape::reshaped)),
    ("Squeeze", By(shape::reshaped)),
    ("Unsqueeze", By(shape::reshaped)),
    ("Transpose", By(shape::transpose)),
    ("Concat", By(shape::concat)),
    ("Split", By(shape::split)),
    ("Slice", By(shape::slice)),
    ("Expand", By(shape::expand)),
    ("Tile", By(shape::tile)),
    ("Pad", By(shape::pad)),
    ("Trilu", By(shape::trilu)),
    ("Gather", By(index::gather)),
    ("GatherElements", By(index::gather_elements)),
    ("GatherND", By(index::gather_nd)),
    ("ScatterElements", By(index::scatter_elements)),
    ("ScatterND", By(index::scatter_nd)),
    ("TopK", By(index::top_k)),
    // Steps, comparisons and values that are not numbers.
    ("Sign", Zero),
    ("Floor", Zero),
    ("Ceil", Zero),
    ("Round", Zero),
    ("Equal", Zero),
    ("Less", Zero),
    ("LessOrEqual", Zero),
    ("Greater", Zero),
    ("GreaterOrEqual", Zero),
    ("And", Zero),
    ("Or", Zero),
    ("Xor", Zero),
    ("Not", Zero),
    ("IsNaN", Zero),
    ("IsInf", Zero),
    ("ArgMax", Zero),
    ("ArgMin", Zero),
    ("Hardmax", Zero),
    ("Shape", Zero),
    ("Size", Zero),
    ("ConstantOfShape", Zero),
    ("EyeLike", Zero),
    ("NonZero", Zero),
    ("OneHot", Zero),
    ("Range", Zero),
];
