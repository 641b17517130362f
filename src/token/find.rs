//! Finding and using tokens.

use super::{EndReason, RenewalSeed, Session, TokenRef, Tokens};
use crate::{
    event,
    protocol::{AppId, Token},
    store::{
        StoreError,
        token::record::{self, Touched},
    },
};

impl Tokens {
    /// Finds the session of a token, if the token is live and was issued to this app. Use it in services without a verifier,
    /// and on a timer to find out whether the session of an open WebSocket or stream has ended.
    ///
    /// It only reads: it accepts all kinds of tokens, spends no one-time token, and does not count as use for the idle timeout.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn check(&self, app_id: &AppId, token: &Token) -> Result<Option<Session>, StoreError> {
        match self.find(app_id, token, self.now()).await? {
            Found::Live(live) => Ok(Some(live.session)),
            Found::Invalid(_) => Ok(None),
        }
    }
}

/// The result of looking for a token.
pub(crate) enum Found {
    Live(Box<LiveToken>),
    /// The reason is there if it is remembered, and the app matches.
    Invalid(Option<EndReason>),
}

/// A token that was live when it was looked for.
pub(crate) struct LiveToken {
    pub(crate) session: Session,
    pub(crate) at: TokenRef,
    /// The seed of the successor, if the token was renewed.
    pub(crate) seed: Option<RenewalSeed>,
    is_unused_successor: bool,
}

impl Tokens {
    /// Finds a token that was issued to this app. It only reads.
    pub(crate) async fn find(&self, app_id: &AppId, token: &Token, now: u64) -> Result<Found, StoreError> {
        self.find_of(token, |of| of == app_id, now).await
    }

    /// Finds a token without a proof of the app.
    pub(crate) async fn find_of_any_app(&self, token: &Token, now: u64) -> Result<Found, StoreError> {
        self.find_of(token, |_| true, now).await
    }

    async fn find_of(&self, token: &Token, is_app: impl Fn(&AppId) -> bool, now: u64) -> Result<Found, StoreError> {
        let Some(at) = TokenRef::of(token) else { return Ok(Found::Invalid(None)) };
        Ok(match self.store.find(&at, now).await? {
            record::Found::Live { record, seed, is_unused_successor } if is_app(&record.app_id) => {
                Found::Live(Box::new(LiveToken { session: Session::new(record), at, seed, is_unused_successor }))
            }
            record::Found::Ended { app_id, reason } if is_app(&app_id) => Found::Invalid(Some(reason)),
            _ => Found::Invalid(None),
        })
    }

    /// Spends a token that is accepted once, or records the use of a session. Returns whether it was live.
    ///
    /// If the use cannot be recorded, the session is live: it may then end earlier than its use says.
    pub(crate) async fn use_token(&self, live: &LiveToken, now: u64) -> Result<bool, StoreError> {
        if live.session.is_one_time() {
            return self.store.take(&live.at, now).await;
        }
        Ok(self.touch(live, now).await.unwrap_or_else(|error| {
            event::catch_panics(|| event::session_not_touched(&error));
            true
        }))
    }

    /// Records the use of a session, if it is due. Returns whether the session is live.
    async fn touch(&self, live: &LiveToken, now: u64) -> Result<bool, StoreError> {
        let idle_until = live.session.record().idle_until;
        let until = self.idle_end(now).filter(|_| idle_until.is_some());
        // The end that is stored is one interval later than the timeout.
        let is_due =
            until.zip(idle_until).is_some_and(|(until, stored)| until >= stored.saturating_add(self.touch_interval()));
        if !is_due && !live.is_unused_successor {
            return Ok(true);
        }
        Ok(self.store.touch(&live.at, now, until).await? == Touched::Done)
    }
}
