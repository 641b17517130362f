//! Rules for routes: which token, and which key, a request needs.
//!
//! `rule` decides. [`RequireLayer`] applies a rule below a verifying layer. [`TokenLayer`] takes a token without a
//! signature.

mod require;
mod rule;
mod token_layer;

#[cfg(feature = "axum")]
pub(super) use self::rule::{Rule, session_of};
pub use self::{
    require::{Require, RequireFuture, RequireLayer},
    token_layer::{TokenLayer, VerifyToken},
};
