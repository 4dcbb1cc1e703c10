//! The neutral form: what every form tool's definition is read into, and what everything after it works on.
//!
//! Invariant: everything here is pure. No clock, no randomness, no I/O: time and locale are arguments, errors are data.
//! A [`Form`] that came out of [`Form::check`] has unique keys and no reference to anything that does not exist, so the
//! compiler and the handlers never have to doubt it.
//!
//! What it deliberately does not do: it knows nothing of WhatsApp. What a phone can show is `flow`'s business.

mod answer;
mod check;
mod condition;
mod file;
mod model;
mod question;
mod text;
mod validate;
mod walk;

pub use answer::{Answers, FileRef, Selection, Value};
pub use check::{Fault, FaultKind};
pub use condition::{Condition, Facts, Op, Operand, Scalar, Test};
pub use file::{MEDIA_TYPES, media_type_of};
pub use model::{Ending, Form, Hidden, Page, Rule, RuleEffect, Target, Translation, Variable};
pub use question::{
    Choice, ChoiceOption, Display, FileLimits, Group, Kind, Labels, MatrixRow, Other, Part, Pattern,
    Question, TextLimits,
};
pub use text::{Recall, Template};
pub use validate::{Problem, Validator};
pub use walk::{Next, Position, Variables, Walker};
