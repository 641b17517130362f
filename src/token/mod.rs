//! Tokens of apps and users, which the server can end at once (feature `tokens`).
//!
//! [`Tokens`] issues, checks, renews and ends tokens in a [store](crate::store::TokenStore). A token is live only for the app
//! that it was issued to. It also issues and ends [grants](Grant), by which share links end before they expire.

mod check;
mod end;
mod find;
mod grant;
mod grants;
mod issue;
mod issue_error;
mod issued;
mod new_token;
mod random;
mod session;
mod session_key;
mod tokens;

pub(crate) use self::{
    check::DynTokenCheck,
    find::{Found, is_live},
    new_token::json,
};
pub use self::{
    check::{CheckedToken, TokenCheck},
    grant::{Grant, GrantId, GrantIdError, IssuedGrant},
    issue_error::IssueError,
    issued::{CookieError, Issued},
    new_token::{DataError, NewToken},
    session::{ApiSession, Session, UserSession},
    session_key::SessionKey,
    tokens::Tokens,
};
pub use crate::{
    protocol::token::{Device, Owner, OwnerKey, RenewalSeed, Subject, TokenRef},
    store::token::record::{EndReason, SessionId, SessionIdError, SessionLimit, TokenKind},
};
