//! CSV and JSON of a plane.
