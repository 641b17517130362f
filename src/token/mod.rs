//! Tokens of apps and users, which the server can end at once (feature `tokens`).
//!
//! [`Tokens`] issues, renews and ends tokens in a [store](crate::store::TokenStore). A verifier
//! [with tokens](crate::Verifier::with_tokens) accepts a request's token only if it is live, and was issued to the app that
//! signed. The handler finds the [`Session`] at [`Caller::session`](crate::Caller::session).

mod issued;
mod new_token;
mod session;
mod tokens;

pub(crate) use self::tokens::Checked;
pub use self::{
    issued::{CookieError, Issued},
    new_token::{DataError, NewToken},
    session::Session,
    tokens::{IssueError, Tokens},
};
pub use crate::{
    protocol::token::{Device, Owner, OwnerKey, RenewalSeed, Subject, TokenRef},
    store::token::record::{EndReason, SessionId, SessionIdError, SessionLimit, TokenKind},
};
