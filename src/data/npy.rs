//! The header of an `.npy` array.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//! `ndarray-npy` parses the header's Python literal. It cannot read f16 or big-endian elements, so
//! the elements are left to this module's callers.

use std::io::Read;

use ndarray_npy::npy::header::Header;

use super::array::Layout;
use crate::base::dtype::Dtype;

/// Maximum length of a header in bytes; NumPy's own limit.
const MAX_HEADER: usize = 10_000;

/// Maximum nesting of brackets. The parser recurses and backtracks, so depth costs stack and, in
/// the worst case, exponential time. NumPy's own headers need 2, structured ones 4.
const MAX_DEPTH: usize = 4;

/// A parsed `.npy` header.
#[derive(Debug, Clone)]
pub(super) struct Npy {
    /// Type and shape.
    pub(super) layout: Layout,
    /// Whether elements are stored column-major.
    pub(super) fortran: bool,
    /// Whether elements are big-endian.
    pub(super) big_endian: bool,
    /// Bytes before the first element.
    pub(super) header_len: usize,
}

impl Npy {
    /// Reads a header and leaves the reader at the first element.
    ///
    /// # Errors
    /// When the header is invalid; the message continues the array's name.
    pub(super) fn read(reader: &mut impl Read) -> Result<Self, String> {
        let bytes = header_bytes(reader)?;
        let header = Header::from_reader(&mut bytes.as_slice())
            .map_err(|error| format!("has a damaged .npy header: {error}"))?;
        let (element, big_endian) = match header.type_descriptor.as_string() {
            Some(descr) => element(descr),
            None => (Err("structured".to_string()), false),
        };
        Ok(Self {
            layout: Layout {
                element,
                shape: header.shape,
            },
            fortran: header.layout.is_fortran(),
            big_endian,
            header_len: bytes.len(),
        })
    }
}

/// Reads the whole header, from the magic string to the final newline. Length and nesting are
/// checked before anything is allocated or parsed.
fn header_bytes(reader: &mut impl Read) -> Result<Vec<u8>, String> {
    let short = |error| format!("ends within its .npy header: {error}");
    let mut bytes = vec![0; 8];
    reader.read_exact(&mut bytes).map_err(short)?;
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err("is no .npy array: its first bytes are not \\x93NUMPY".to_string());
    }
    let mut length = [0; 4];
    let width = if bytes[6] == 1 { 2 } else { 4 };
    reader.read_exact(&mut length[..width]).map_err(short)?;
    bytes.extend_from_slice(&length[..width]);
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(format!(
            "has an .npy header of {length} bytes; at most {MAX_HEADER} are read"
        ));
    }
    let start = bytes.len();
    bytes.resize(start + length, 0);
    reader.read_exact(&mut bytes[start..]).map_err(short)?;
    if depth(&bytes[start..]) > MAX_DEPTH {
        return Err(format!(
            "has an .npy header nested deeper than {MAX_DEPTH} brackets"
        ));
    }
    Ok(bytes)
}

/// The maximum number of brackets open at once; brackets inside strings count as well.
fn depth(text: &[u8]) -> usize {
    let mut open = 0_usize;
    let mut deepest = 0;
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

/// Parses a type descriptor such as `<f4` into the element type and whether it is big-endian.
fn element(descr: &str) -> (Result<Dtype, String>, bool) {
    let (order, kind) = descr.split_at_checked(1).unwrap_or((descr, ""));
    let element = match kind {
        "u1" => Dtype::U8,
        "i1" => Dtype::I8,
        "u2" => Dtype::U16,
        "i2" => Dtype::I16,
        "u4" => Dtype::U32,
        "i4" => Dtype::I32,
        "u8" => Dtype::U64,
        "i8" => Dtype::I64,
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "b1" => Dtype::Bool,
        _ => return (Err(unreadable(descr, kind)), false),
    };
    match order {
        "<" | "|" => (Ok(element), false),
        ">" => (Ok(element), true),
        _ => (Err(descr.to_string()), false),
    }
}

/// Describes a type that cannot be read.
fn unreadable(descr: &str, kind: &str) -> String {
    match kind.as_bytes().first() {
        Some(b'O') => "Python objects".to_string(),
        Some(b'U' | b'S') => format!("text ({descr})"),
        Some(b'c') => format!("complex numbers ({descr})"),
        _ => format!("elements of NumPy type {descr:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn npy(version: u8, dict: &str) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((dict.len() as u16 + 1).to_le_bytes()),
            _ => bytes.extend((dict.len() as u32 + 1).to_le_bytes()),
        }
        bytes.extend(dict.as_bytes());
        bytes.push(b'\n');
        bytes
    }

    fn read(version: u8, dict: &str) -> Result<Npy, String> {
        Npy::read(&mut npy(version, dict).as_slice())
    }

    #[test]
    fn headers_of_all_versions_are_read() {
        for version in [1, 2, 3] {
            let dict = "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4), }";
            let header = read(version, dict).unwrap();
            assert_eq!(header.layout.element, Ok(Dtype::F16));
            assert_eq!(header.layout.shape, [3, 4]);
            assert!(!header.fortran && !header.big_endian);
            assert_eq!(header.header_len, npy(version, dict).len());
        }
    }

    #[test]
    fn byte_order_and_storage_order_are_read() {
        let header = read(
            1,
            "{'descr': '>i4', 'fortran_order': True, 'shape': (5,), }",
        )
        .unwrap();
        assert_eq!(header.layout.element, Ok(Dtype::I32));
        assert!(header.fortran && header.big_endian);
    }

    #[test]
    fn types_that_cannot_be_read_are_named() {
        for (descr, name) in [
            ("'|O'", "Python objects"),
            ("'<U7'", "text (<U7)"),
            ("'<c8'", "complex numbers (<c8)"),
            ("'<M8[ns]'", "elements of NumPy type \"<M8[ns]\""),
            ("[('a', '<f4'), ('b', '<i2', (2,))]", "structured"),
        ] {
            let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}");
            assert_eq!(
                read(1, &dict).unwrap().layout.element,
                Err(name.to_string())
            );
        }
    }

    #[test]
    fn headers_that_would_exhaust_memory_or_stack_are_refused() {
        let mut huge = b"\x93NUMPY\x02\x00".to_vec();
        huge.extend(u32::MAX.to_le_bytes());
        let error = Npy::read(&mut huge.as_slice()).unwrap_err();
        assert!(error.contains("4294967295 bytes"), "{error}");
        for bracket in ["(", "[", "{"] {
            let error = read(1, &bracket.repeat(9_000)).unwrap_err();
            assert!(error.contains("nested deeper"), "{error}");
        }
        // As deep and as long as allowed: the time grows with both, but stays finite.
        for bracket in ["(", "[", "{", "{'a':"] {
            read(1, &format!("{}{}", bracket.repeat(4), "1,".repeat(4_900))).unwrap_err();
        }
    }

    #[test]
    fn damaged_headers_say_so() {
        let error = Npy::read(&mut &b"PK"[..]).unwrap_err();
        assert!(error.contains("ends within its .npy header"), "{error}");
        let error = Npy::read(&mut &b"12345678"[..]).unwrap_err();
        assert!(error.contains("is no .npy array"), "{error}");
        let error = read(1, "{'descr': '<f4', 'shape': (1,)}").unwrap_err();
        assert!(error.contains("missing key: fortran_order"), "{error}");
        let dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }";
        assert!(
            read(1, dict)
                .unwrap_err()
                .contains("illegal value for key shape")
        );
        let dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }";
        assert!(
            read(1, dict)
                .unwrap_err()
                .contains("illegal value for key shape")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Npy::read(&mut bytes.as_slice());
        }

        #[test]
        fn arbitrary_literals_never_panic(
            version in 0_u8..5,
            dict in r#"[\[\](){}'"\\,:0-9a-fxNTrueFalsdcjbB<>|+._ \n-]{0,200}"#,
        ) {
            let _ = Npy::read(&mut npy(version, &dict).as_slice());
        }

        #[test]
        fn any_shape_is_read_back(shape in proptest::collection::vec(any::<u32>(), 0..6)) {
            let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
            let dict = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({sizes}), }}");
            // NumPy's own writer gives `(3, )` and `()`, up to spaces.
            let found = read(1, &dict).unwrap().layout.shape;
            prop_assert_eq!(found, shape.iter().map(|&size| size as usize).collect::<Vec<_>>());
        }
    }
}
