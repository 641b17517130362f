//! Finding and using tokens.

use super::{EndReason, RenewalSeed, Session, TokenRef, Tokens};
use crate::{
    event,
    protocol::{AppId, Rejection, Token},
    store::{
        MemoryTokenStore, StoreError,
        token::record::{self, TokenKind, Touched},
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
    Live(LiveToken),
    /// The reason is there if it is remembered, and the app matches.
    Invalid(Option<EndReason>),
}

/// A token that was live when it was looked for.
pub(crate) struct LiveToken {
    pub(crate) session: Session,
    /// The seed of the successor, if the token was renewed.
    pub(crate) seed: Option<RenewalSeed>,
    pub(crate) is_unused_successor: bool,
}

/// Judges the answer of [`Tokens::use_token`]. If the use of a session cannot be recorded, the session is live all the same: it
/// may then end earlier than its use says.
pub(crate) fn is_live(session: &Session, answer: Result<bool, StoreError>) -> Result<bool, Rejection> {
    match answer {
        Err(error) if !session.is_one_time() => {
            event::catch_panics(|| event::session_not_touched(&error));
            Ok(true)
        }
        answer => answer.map_err(Rejection::unavailable),
    }
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
        Ok(match self.find_record(&at, now).await? {
            record::Found::Live { record, .. } if record.kind == TokenKind::Grant => Found::Invalid(None),
            record::Found::Live { record, seed, is_unused_successor } if is_app(&record.app_id) => {
                Found::Live(LiveToken { session: Session::new(record), seed, is_unused_successor })
            }
            record::Found::Ended { app_id, reason } if is_app(&app_id) => Found::Invalid(Some(reason)),
            _ => Found::Invalid(None),
        })
    }

    /// Finds the record of a token or a grant. It only reads.
    pub(super) async fn find_record(&self, at: &TokenRef, now: u64) -> Result<record::Found, StoreError> {
        // This is on the way of each request with a token.
        match self.store.as_any().downcast_ref::<MemoryTokenStore>() {
            Some(memory) => Ok(memory.find_at_once(at, now)),
            None => self.store.find(at, now).await,
        }
    }

    /// Whether the use of a token has nothing to write: it is not accepted once, and its use was recorded not long ago.
    pub(crate) fn is_use_recorded(&self, session: &Session, is_unused_successor: bool, now: u64) -> bool {
        !session.is_one_time() && !is_unused_successor && self.due_touch(session, now).is_none()
    }

    /// Spends a token that is accepted once, or records the use of a session. Returns whether it was live.
    pub(crate) async fn use_token(&self, token: &Token, session: &Session, now: u64) -> Result<bool, StoreError> {
        let Some(at) = TokenRef::of(token) else { return Ok(false) };
        match session.is_one_time() {
            true => self.store.take(&at, now).await,
            false => Ok(self.store.touch(&at, now, self.due_touch(session, now)).await? == Touched::Done),
        }
    }

    /// The new idle end of a session, if it is to be stored now.
    fn due_touch(&self, session: &Session, now: u64) -> Option<u64> {
        let (until, stored) = self.idle_end(now).zip(session.record().idle_until)?;
        // The end that is stored is one interval later than the timeout.
        (until >= stored.saturating_add(self.touch_interval())).then_some(until)
    }
}
