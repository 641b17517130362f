//! Signed responses: the `layer` and its `service`. The verifier hands the key that signed the request to it through a
//! `slot`. `conditions` are the responses that cannot be signed, and a `body` with trailers is one of them.

mod body;
mod conditions;
pub(super) mod layer;
pub(super) mod service;
pub(super) mod slot;
