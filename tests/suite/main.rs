//! Tests of the crate as its users see it.

mod rig;
mod vectors;
