//! The checks of a claim, in their order: `freshness` (step 2), `mac` (step 6), `replay` (step 8).

pub(super) mod freshness;
pub(super) mod mac;
pub(super) mod replay;
