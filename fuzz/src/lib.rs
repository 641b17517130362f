//! What the fuzz targets share. `scripts/fuzz` runs them.
//!
//! `reference` implements PROTOCOL.md a second time, slowly and without the crate's code. The targets compare the two.

pub mod broken;
pub mod config;
#[path = "../../tests/reference/mod.rs"]
pub mod reference;
pub mod rig;
pub mod target;
