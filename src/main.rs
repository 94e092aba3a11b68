//! The `landscape` program.

fn main() {}
