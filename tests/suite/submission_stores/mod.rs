//! The submission store in memory, and the conformance suite of submission stores: it rejects stores that break the contract.

mod broken;
mod faulty;
mod memory;

use std::time::Duration;

/// The unit of the suite, by a manual clock.
const UNIT: Duration = Duration::from_secs(20);
