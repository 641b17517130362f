//! Signed responses: the string to sign of a response, signing and checking. `sent` is what both ends keep of the request.

pub(super) mod check;
pub(super) mod error;
pub(super) mod sent;
pub(super) mod sign;
mod string;
