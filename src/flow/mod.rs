//! The Flow JSON side: what Meta allows, expressions, and the validator. Pure.

pub mod limits;
