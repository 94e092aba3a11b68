//! Filling a batch buffer from stored samples.

use half::{bf16, f16};

use super::array::Element;
use super::preprocess::Table;
use super::spec::InputDtype;

/// A caller's buffer for some samples of one input, row-major, in the graph's element type.
pub enum BatchMut<'a> {
    /// 32-bit floats.
    F32(&'a mut [f32]),
    /// 16-bit floats.
    F16(&'a mut [f16]),
    /// Brain floats.
    Bf16(&'a mut [bf16]),
    /// 64-bit floats.
    F64(&'a mut [f64]),
    /// 64-bit integers.
    I64(&'a mut [i64]),
    /// 32-bit integers.
    I32(&'a mut [i32]),
    /// Bytes.
    U8(&'a mut [u8]),
    /// Booleans.
    Bool(&'a mut [bool]),
}

/// Why data of one element type cannot feed an input of another; `None` when it can.
pub(super) fn mismatch(
    found: Element,
    wanted: InputDtype,
    preprocess: bool,
) -> Option<&'static str> {
    use InputDtype as I;
    match (found, wanted) {
        (Element::U8, wanted) if wanted.is_float() && !preprocess => Some(
            "set scale, mean and std under [preprocess] in landscape.toml, so that the network \
             sees the numbers it was trained on (scale = 0.00392156862745098 is 1/255)",
        ),
        (Element::U8, wanted) if wanted.is_float() => None,
        (found, wanted) if found.is_float() && wanted.is_float() => None,
        (Element::Bool, I::Bool) | (Element::U8, I::U8) => None,
        (found, I::I64 | I::I32) if found.is_integer() => None,
        (found, wanted) if wanted.is_float() && !found.is_float() => {
            Some("only u8 and floating-point arrays can feed this input")
        }
        _ => Some("store the array in the input's own type"),
    }
}

/// Converts stored elements into the buffer; the pair of types passed [`mismatch`].
pub(super) fn fill(bytes: &[u8], element: Element, table: Option<&Table>, out: BatchMut<'_>) {
    match out {
        BatchMut::F32(out) => floats(bytes, element, table, out, |x| x as f32, |x| x),
        BatchMut::F16(out) => floats(bytes, element, table, out, f16::from_f64, f16::from_f32),
        BatchMut::Bf16(out) => floats(bytes, element, table, out, bf16::from_f64, bf16::from_f32),
        BatchMut::F64(out) => floats(bytes, element, table, out, |x| x, f64::from),
        BatchMut::I64(out) => integers(bytes, element, out, |x| x),
        BatchMut::I32(out) => integers(bytes, element, out, |x| x as i32),
        BatchMut::U8(out) => out.copy_from_slice(bytes),
        BatchMut::Bool(out) => each(bytes, out, |[byte]| byte != 0),
    }
}

fn each<T, const N: usize>(bytes: &[u8], out: &mut [T], value: impl Fn([u8; N]) -> T) {
    for (out, &bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = value(bytes);
    }
}

fn floats<T>(
    bytes: &[u8],
    element: Element,
    table: Option<&Table>,
    out: &mut [T],
    from_f64: impl Fn(f64) -> T,
    from_f32: impl Fn(f32) -> T,
) {
    match (element, table) {
        (Element::U8, Some(table)) => table.apply(bytes, out, from_f32),
        (Element::F32, _) => each(bytes, out, |b| from_f32(f32::from_le_bytes(b))),
        (Element::F64, _) => each(bytes, out, |b| from_f64(f64::from_le_bytes(b))),
        (Element::F16, _) => each(bytes, out, |b| from_f32(f16::from_le_bytes(b).to_f32())),
        (Element::Bf16, _) => each(bytes, out, |b| from_f32(bf16::from_le_bytes(b).to_f32())),
        _ => {}
    }
}

/// Integers of any width into the input's width.
fn integers<T>(bytes: &[u8], element: Element, out: &mut [T], convert: impl Fn(i64) -> T) {
    match element {
        Element::U8 => each(bytes, out, |[b]: [u8; 1]| convert(i64::from(b))),
        Element::I8 => each(bytes, out, |b| convert(i64::from(i8::from_le_bytes(b)))),
        Element::U16 => each(bytes, out, |b| convert(i64::from(u16::from_le_bytes(b)))),
        Element::I16 => each(bytes, out, |b| convert(i64::from(i16::from_le_bytes(b)))),
        Element::U32 => each(bytes, out, |b| convert(i64::from(u32::from_le_bytes(b)))),
        Element::I32 => each(bytes, out, |b| convert(i64::from(i32::from_le_bytes(b)))),
        Element::U64 => each(bytes, out, |b| convert(u64::from_le_bytes(b) as i64)),
        Element::I64 => each(bytes, out, |b| convert(i64::from_le_bytes(b))),
        _ => {}
    }
}

/// All elements of an integer array.
pub(super) fn to_i64(bytes: &[u8], element: Element) -> Vec<i64> {
    let mut values = vec![0; bytes.len() / element.size()];
    integers(bytes, element, &mut values, |x| x);
    values
}
