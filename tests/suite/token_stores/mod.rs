//! The token store in memory, and the conformance suite of token stores: it rejects stores that break the contract.

mod broken;
mod faulty;
mod memory;
