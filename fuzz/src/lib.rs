//! Shared by the fuzz targets. `scripts/fuzz` runs them.
//!
//! `reference` is a second implementation of PROTOCOL.md that uses none of the crate's code. The targets compare the two.

pub mod broken;
pub mod config;
#[path = "../../tests/reference/mod.rs"]
pub mod reference;
pub mod rig;
pub mod target;
