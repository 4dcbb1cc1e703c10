//! The Flow JSON side: what Meta allows, expressions, and the validator. Pure.

pub mod expression;
pub mod limits;
pub mod plan;
pub mod validate;
pub mod words;
