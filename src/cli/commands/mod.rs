//! The commands: each makes settings from its arguments, runs the experiment and passes its result
//! to [`finish`](super::report::finish).

pub mod bench;
pub mod doctor;
pub mod draw;
pub mod inspect;
pub mod line;
pub mod pairs;
pub mod plane;
pub mod soup;
pub mod spectrum;
