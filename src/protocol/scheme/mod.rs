//! What both ends agree on: the `contract`, with the names of headers and parameters. The `limits` are the verifier's own.

pub(super) mod contract;
pub(super) mod headers;
pub(super) mod limits;
pub(super) mod parameter_names;
