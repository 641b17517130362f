//! Tests of the crate as its users see it.

mod answers;
mod bodies;
mod client;
mod fields;
mod parameters;
mod replay;
mod rig;
mod secrets;
mod stacks;
mod vectors;
mod window;
