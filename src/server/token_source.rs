//! What a verifier asks about tokens.

use std::sync::Arc;

use crate::{
    protocol::{AppId, Token},
    store::StoreError,
    token::{CheckedToken, DynTokenCheck, Found, Session, Tokens},
};

/// What a verifier asks about the token of a request.
#[derive(Clone)]
pub(super) enum TokenSource {
    /// Tokens that this crate has issued.
    Issued(Tokens),
    /// Tokens of another system.
    Other(Arc<dyn DynTokenCheck>),
}

/// A token that was live when the source was asked. It is small, because a verifier keeps it while it waits.
pub(super) enum LiveToken {
    Issued { session: Session, is_unused_successor: bool },
    Other(Arc<CheckedToken>),
}

impl TokenSource {
    /// Returns the live token, or the reason why it has ended, if that is known.
    pub(super) async fn look_up(
        &self,
        app_id: &AppId,
        token: &Token,
        now: u64,
    ) -> Result<Result<LiveToken, Option<&'static str>>, StoreError> {
        Ok(match self {
            Self::Issued(tokens) => match tokens.find(app_id, token, now).await? {
                Found::Live(live) => {
                    Ok(LiveToken::Issued { session: live.session, is_unused_successor: live.is_unused_successor })
                }
                Found::Invalid(reason) => Err(reason.map(|reason| reason.as_str())),
            },
            Self::Other(check) => {
                check.check(app_id, token).await?.map(|token| LiveToken::Other(Arc::new(token))).ok_or(None)
            }
        })
    }
}
