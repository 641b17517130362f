//! The rejections of requests: their `kind`, the rejection itself (`rejected`), those about tokens (`token`) and
//! submissions (`submission`), and the reason of an invalid signature, which the caller does not get (`signature_error`).

mod kind;
mod rejected;
mod signature_error;
#[cfg(feature = "submissions")]
mod submission;
mod token;

#[cfg(feature = "server")]
pub(crate) use self::rejected::Challenge;
pub(crate) use self::rejected::{BoxError, InField};
pub use self::{
    kind::RejectionKind,
    rejected::{RejectedLink, Rejection},
    signature_error::SignatureError,
};
