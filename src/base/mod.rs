//! Small tools independent of networks: files, hashes, text for people, the machine.

pub mod atomic;
pub mod download;
pub mod dtype;
pub mod files;
pub mod hash;
pub mod human;
pub mod lock;
pub mod machine;
pub mod map;
pub mod number;
pub mod scratch;
