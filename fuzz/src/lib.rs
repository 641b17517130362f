//! What the fuzz targets share. `scripts/fuzz` runs them.
//!
//! [`plain`] reads PROTOCOL.md a second time, slowly and without a line of the crate's; the targets compare the two.

pub mod broken;
pub mod config;
pub mod plain;
pub mod rig;
pub mod target;
