//! Keys of models, by which the journal and caches know them.

use sha2::{Digest, Sha256};

use crate::evaluate::journal::ModelKey;
use crate::space::mix::Mix;

/// The key of a mix: a hash of its coefficients.
pub fn mix_key(mix: &Mix) -> ModelKey {
    let mut hash = Sha256::new();
    for coefficient in mix.rows().iter().flatten() {
        hash.update(coefficient.to_le_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let (half, _) = digest.split_at(16);
    half.iter()
        .fold(0, |key, byte| key << 8 | ModelKey::from(*byte))
}

/// The key of an original model: its index. No hash of a mix is that small.
pub fn file_key(file: usize) -> ModelKey {
    file as ModelKey
}
