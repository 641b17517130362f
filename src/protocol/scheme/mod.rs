//! The configuration that both ends share: the `contract`, with the names of headers and parameters. The `limits`
//! belong to the verifier alone.

pub(super) mod contract;
pub(super) mod headers;
pub(super) mod limits;
pub(super) mod parameter_names;
pub(super) mod secret_headers;
