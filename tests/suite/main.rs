//! Tests of the crate as its users see it.

mod answers;
mod bodies;
mod fields;
mod parameters;
mod replay;
mod rig;
mod vectors;
mod window;
