//! The result of reading a part of a file.

/// A result whose error says what is wrong with the file, without naming it.
pub type Outcome<T> = std::result::Result<T, String>;
