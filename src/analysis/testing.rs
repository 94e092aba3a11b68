//! Scores and data sets shared by the tests of analyses.

use crate::result::score::{DatasetInfo, Role, Score};

/// A score without standard errors.
pub fn score(loss: f64, error: f64) -> Score {
    Score {
        loss,
        loss_se: 0.0,
        error,
        error_se: 0.0,
        nonfinite: 0,
    }
}

/// The data set `test` with this many samples.
pub fn test_set(samples: usize) -> DatasetInfo {
    DatasetInfo {
        name: "test".to_string(),
        role: Role::Test,
        samples,
    }
}
