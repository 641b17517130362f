//! Explains an invalid signature: the `comparison` of two strings to sign names the first line that differs, and its
//! `cause`.

mod cause;
mod comparison;
mod line;
mod parameters;

pub use self::{
    cause::Cause,
    comparison::{Comparison, Difference},
    line::SignedLine,
};
