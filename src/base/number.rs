//! Numbers in JSON: NaN and ±∞, which JSON lacks, are written as strings and read back.
//!
//! Annotate fields with `#[serde(with = "crate::base::number")]`. An optional field that may be
//! missing needs `#[serde(default)]` as well.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A type made of numbers: one, an optional one, a pair, or a list of these.
pub trait Numbers: Sized {
    /// The same type with [`Number`] in place of `f64`.
    type Json: Serialize + for<'de> Deserialize<'de>;
    /// Converts to the form that is written.
    fn to_json(&self) -> Self::Json;
    /// Converts from the form that was read.
    fn from_json(json: Self::Json) -> Self;
}

/// A number in JSON: a finite one as a number, others as `"NaN"`, `"inf"` or `"-inf"`.
pub struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Finite(f64),
            Text(String),
            /// Earlier versions wrote null for non-finite values of some fields.
            Null,
        }
        match Written::deserialize(deserializer)? {
            Written::Finite(value) => Ok(Self(value)),
            Written::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
            Written::Null => Ok(Self(f64::NAN)),
        }
    }
}

impl Numbers for f64 {
    type Json = Number;
    fn to_json(&self) -> Number {
        Number(*self)
    }
    fn from_json(json: Number) -> Self {
        json.0
    }
}

impl Numbers for Option<f64> {
    type Json = Option<Number>;
    fn to_json(&self) -> Option<Number> {
        self.map(Number)
    }
    fn from_json(json: Option<Number>) -> Self {
        json.map(|number| number.0)
    }
}

impl Numbers for [f64; 2] {
    type Json = [Number; 2];
    fn to_json(&self) -> [Number; 2] {
        self.map(Number)
    }
    fn from_json(json: [Number; 2]) -> Self {
        json.map(|number| number.0)
    }
}

impl<T: Numbers> Numbers for Vec<T> {
    type Json = Vec<T::Json>;
    fn to_json(&self) -> Vec<T::Json> {
        self.iter().map(T::to_json).collect()
    }
    fn from_json(json: Vec<T::Json>) -> Self {
        json.into_iter().map(T::from_json).collect()
    }
}

/// Writes numbers, each as a [`Number`].
///
/// # Errors
/// When the serializer fails.
pub fn serialize<T: Numbers, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_json().serialize(serializer)
}

/// Reads numbers written by [`serialize`].
///
/// # Errors
/// When the deserializer fails, or a string is not a number.
pub fn deserialize<'de, T: Numbers, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::Json::deserialize(deserializer).map(T::from_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Held {
        #[serde(with = "super")]
        one: f64,
        #[serde(with = "super", default)]
        maybe: Option<f64>,
        #[serde(with = "super")]
        pair: [f64; 2],
        #[serde(with = "super")]
        many: Vec<Vec<f64>>,
    }

    #[test]
    fn what_json_lacks_is_written_as_text_and_read_back() {
        let held = Held {
            one: f64::NAN,
            maybe: Some(f64::INFINITY),
            pair: [1.0, f64::NEG_INFINITY],
            many: vec![vec![0.1], vec![f64::NAN, 2.0]],
        };
        let text = serde_json::to_string(&held).unwrap();
        let expected =
            r#"{"one":"NaN","maybe":"inf","pair":[1.0,"-inf"],"many":[[0.1],["NaN",2.0]]}"#;
        assert_eq!(text, expected);
        let back: Held = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{back:?}"), format!("{held:?}"));
    }

    #[test]
    fn null_is_an_absent_option_and_otherwise_nan_and_words_are_refused() {
        let read = serde_json::from_str::<Held>;
        let held = read(r#"{"one":null,"maybe":null,"pair":[1,2],"many":[]}"#).unwrap();
        assert!(held.one.is_nan() && held.maybe.is_none());
        assert!(
            read(r#"{"one":1,"pair":[1,2],"many":[]}"#)
                .unwrap()
                .maybe
                .is_none()
        );
        assert!(read(r#"{"one":"many","pair":[1,2],"many":[]}"#).is_err());
    }
}
