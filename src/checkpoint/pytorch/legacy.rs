//! The format before PyTorch 1.6: five pickles in a row, then the elements of every storage.

use std::collections::HashMap;

use bytes::Bytes;

use super::heap::{Heap, Object, Value};
use super::outcome::Outcome;
use super::unpickler::unpickle;
use super::view::Storage;

/// 0x1950a86a20f9469cfc6c, the lowest byte first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Where the magic number stands: after the protocol, the instruction and the length.
const MAGIC_AT: usize = 4;

/// The storages of a legacy file.
pub struct Legacy {
    bytes: Bytes,
    /// First byte of each storage's elements, by its key.
    starts: HashMap<Bytes, usize>,
}

/// Whether a file begins as the legacy format does.
pub fn is_legacy(bytes: &[u8]) -> bool {
    bytes.len() > MAGIC_AT && bytes[MAGIC_AT..].starts_with(&MAGIC)
}

/// Reads a legacy file: what was saved, and where the elements are.
///
/// # Errors
/// When it is damaged, or its numbers have the highest byte first.
pub fn read(bytes: &Bytes, heap: &mut Heap) -> Outcome<(Value, Legacy)> {
    let (_, at) = unpickle(bytes, 0, heap)?;
    let (_, at) = unpickle(bytes, at, heap)?;
    let (system, at) = unpickle(bytes, at, heap)?;
    if heap.entry(system, "little_endian") == Some(Value::Bool(false)) {
        return Err(
            "was written on a machine whose numbers have the highest byte first, which is not \
             read; load and save it again with PyTorch on an ordinary machine"
                .to_string(),
        );
    }
    let first = heap.len();
    let (value, at) = unpickle(bytes, at, heap)?;
    let sizes = sizes(heap, first);
    let (keys, mut at) = unpickle(bytes, at, heap)?;
    let keys = heap.sequence(keys).unwrap_or_default();
    let mut starts = HashMap::new();
    for key in keys {
        let Some(Object::Text(key)) = heap.get(*key) else {
            return Err("its list of storages is damaged".to_string());
        };
        let size = sizes.get(key).copied();
        let size = size.ok_or("its list of storages names one that no tensor uses")?;
        // Each begins with its number of elements.
        let count = bytes.get(at..).and_then(|rest| rest.first_chunk());
        let count = count.map(|count| u64::from_le_bytes(*count));
        let end = count.and_then(|count| {
            let len = usize::try_from(count).ok()?.checked_mul(size)?;
            at.checked_add(8)?.checked_add(len)
        });
        let end = end.filter(|end| *end <= bytes.len());
        starts.insert(key.clone(), at + 8);
        at = end.ok_or("it ends within its tensors: was the copy or download cut short?")?;
    }
    let bytes = bytes.clone();
    Ok((value, Legacy { bytes, starts }))
}

/// Bytes per element of each storage, by its key.
fn sizes(heap: &Heap, first: usize) -> HashMap<Bytes, usize> {
    let storages = heap.objects_from(first).iter();
    let size = |object: &Object| match object {
        Object::Storage(storage) => Some((storage.key.clone(), storage.element.size)),
        _ => None,
    };
    storages.filter_map(size).collect()
}

impl Legacy {
    /// The bytes of a storage, a slice of the file.
    ///
    /// # Errors
    /// When it is missing, or its part exceeds it.
    pub fn storage(&self, storage: &Storage) -> Outcome<Bytes> {
        let start = self.starts.get(&storage.key);
        let start = *start.ok_or("lacks the elements of a tensor")?;
        let size = storage.element.size;
        let (first, len) = storage.part.unwrap_or((0, storage.len));
        let whole = usize::try_from(storage.len).ok();
        let range = || {
            let stop = usize::try_from(first.checked_add(len)?).ok()?;
            let whole = whole.filter(|whole| stop <= *whole)?;
            start.checked_add(whole.checked_mul(size)?)?;
            Some(start.checked_add(first as usize * size)?..start.checked_add(stop * size)?)
        };
        let range = range().filter(|range| range.end <= self.bytes.len());
        let range =
            range.ok_or("it ends within its tensors: was the copy or download cut short?")?;
        Ok(self.bytes.slice(range))
    }
}
