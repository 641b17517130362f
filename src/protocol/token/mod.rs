//! Tokens and their owners: the `text` of a token, the `owner` tag in it, and the `session_key` that is derived from it.

mod owner;
pub(super) mod session_key;
mod text;

pub use self::{
    owner::{Device, Owner, OwnerKey, OwnerTag, Subject},
    text::{RenewalSeed, TokenRef},
};
