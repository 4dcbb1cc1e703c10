//! The Flow JSON side: what Meta allows, expressions, and the validator. Pure.

pub mod compile;
pub mod expression;
pub mod handler;
pub mod limits;
pub mod plan;
pub mod report;
pub mod validate;
pub mod words;
