//! stub
use crate::error::Result;
use crate::result::plane::Plane;
pub enum Panels {
    Paper,
    All,
}
pub struct Drawing {
    pub png: Vec<u8>,
    pub svg: String,
}
pub fn draw(_plane: &Plane, _panels: Panels) -> Result<Drawing> {
    Ok(Drawing {
        png: Vec::new(),
        svg: String::new(),
    })
}
