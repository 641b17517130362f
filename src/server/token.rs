//! Steps 7 and 9b: the token of a request.

#[cfg(feature = "tokens")]
mod checked {
    use crate::{
        event,
        protocol::{AppId, Rejection, Token, token::TokenRef},
        server::{app_lookup::MAX_AGE, caller::Caller, non_decreasing_clock::Time, verifier::Verifier},
        store::{KeyStore, NonceStore, token::record::TokenKind},
        token::{Checked, Session, Tokens},
    };

    /// A token that was live at step 7.
    pub(in crate::server) struct FoundToken(Box<LiveToken>);

    struct LiveToken {
        token: Token,
        session: Session,
        at: TokenRef,
        is_unused_successor: bool,
        found: Time,
    }

    impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
        /// Whether a key that is derived from a key of the app and a token may sign.
        pub(in crate::server) fn takes_session_keys(&self) -> bool {
            self.tokens.as_ref().is_some_and(Tokens::takes_session_keys)
        }

        /// Finds the token of a request, if this verifier has tokens. `is_body_checked_first` says whether the body is
        /// checked before the service gets it.
        pub(in crate::server) async fn find_token(
            &self,
            app_id: &AppId,
            token: &Token,
            is_body_checked_first: bool,
            time: Time,
        ) -> Result<Option<FoundToken>, Rejection> {
            let Some(tokens) = &self.tokens else { return Ok(None) };
            let live = live(tokens, app_id, token, time).await?;
            match live.session.kind() {
                TokenKind::Bearer => Err(Rejection::token_not_allowed(
                    "this token is for routes without a signature: use another one for signed requests",
                )),
                TokenKind::OneTime if !is_body_checked_first => Err(Rejection::token_not_allowed(
                    "this route takes bodies before they are checked, and a token that is accepted once would be spent by a \
                     wrong one",
                )),
                _ => Ok(Some(FoundToken(Box::new(live)))),
            }
        }

        /// Spends a token that is accepted once, or records the use of a session. If much time has passed, the token is
        /// found again before. Returns the caller with its session.
        pub(in crate::server) async fn use_token(
            &self,
            token: FoundToken,
            caller: Caller,
        ) -> Result<Caller, Rejection> {
            let Some(tokens) = &self.tokens else { return Ok(caller) };
            let found = token.0;
            let time = self.time();
            let live = match time.since(&found.found) > MAX_AGE {
                true => live(tokens, caller.app_id(), &found.token, time).await?,
                false => *found,
            };
            let LiveToken { session, at, is_unused_successor, .. } = live;
            // A verifier that only reports spends and prolongs nothing.
            if !self.observer.is_enforced() {
                return Ok(caller.with_session(session));
            }
            let is_live = match session.is_one_time() {
                true => tokens.take(&at, time.now).await.map_err(Rejection::unavailable)?,
                false => tokens.touch(&session, &at, is_unused_successor, time.now).await.unwrap_or_else(|error| {
                    // The session is live. It may end earlier than its use says.
                    event::catch_panics(|| event::session_not_touched(&error));
                    true
                }),
            };
            match is_live {
                true => Ok(caller.with_session(session)),
                false => Err(Rejection::invalid_token(None)),
            }
        }
    }

    async fn live(tokens: &Tokens, app_id: &AppId, token: &Token, time: Time) -> Result<LiveToken, Rejection> {
        match tokens.find(app_id, token, time.now).await.map_err(Rejection::unavailable)? {
            Checked::Live { session, at, is_unused_successor, .. } => {
                Ok(LiveToken { token: token.clone(), session, at, is_unused_successor, found: time })
            }
            Checked::Invalid(reason) => Err(Rejection::invalid_token(reason.map(|reason| reason.as_str()))),
        }
    }
}

#[cfg(not(feature = "tokens"))]
mod unchecked {
    use crate::{
        protocol::{AppId, Rejection, Token},
        server::{caller::Caller, non_decreasing_clock::Time, verifier::Verifier},
        store::{KeyStore, NonceStore},
    };

    pub(in crate::server) struct FoundToken;

    impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
        pub(in crate::server) fn takes_session_keys(&self) -> bool {
            false
        }

        #[expect(clippy::unused_async, reason = "with tokens, a store is asked")]
        pub(in crate::server) async fn find_token(
            &self,
            _: &AppId,
            _: &Token,
            _: bool,
            _: Time,
        ) -> Result<Option<FoundToken>, Rejection> {
            Ok(None)
        }

        #[expect(clippy::unused_async, reason = "with tokens, a store is asked")]
        pub(in crate::server) async fn use_token(&self, _: FoundToken, caller: Caller) -> Result<Caller, Rejection> {
            Ok(caller)
        }
    }
}
