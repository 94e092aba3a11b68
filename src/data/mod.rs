//! Reading data sets.
