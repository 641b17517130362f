//! Whose submission it is, and its place in a store.

use http::Method;
use sha2::{Digest, Sha256};

use super::IdempotencyKey;
use crate::{
    protocol::{
        AppId, BodyDigest, Scheme,
        token::{Owner, OwnerTag, Subject, TokenRef},
    },
    server::Caller,
    store::{Fingerprint, SubmissionRef},
};

/// The caller that a submission belongs to. Submissions of different scopes are different submissions, even with the same key.
///
/// A scope has an app, and the owner of the request's token if it has one. The place of a submission in the store is made from
/// it: [`by_key`](Self::by_key).
///
/// ```
/// use countersign::{Scheme, submission::SubmissionScope, token::Subject};
///
/// let user: Subject = "u-17".parse()?;
/// let scope = SubmissionScope::new("demo".parse()?).with_owner(user.into());
/// let at = scope.by_key(&Scheme::new(), &http::Method::POST, "/pay", &"8e03978e".parse()?);
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SubmissionScope {
    app_id: AppId,
    token: TokenScope,
    /// Lowercase hex SHA-256 of the service's part, or an empty text.
    extra: String,
    tag: Option<OwnerTag>,
}

/// What the token adds to the scope. A renewal changes none of it.
#[derive(Clone, Debug)]
enum TokenScope {
    None,
    Owner(Owner),
    Subject(Subject),
}

impl SubmissionScope {
    /// Makes the scope of an app's requests without a token.
    pub fn new(app_id: AppId) -> Self {
        Self { app_id, token: TokenScope::None, extra: String::new(), tag: None }
    }

    /// Returns the scope of a caller, as the layer has it without [`with_scope`](super::SubmitOnceLayer::with_scope). A token
    /// that the verifier does not check is not part of it.
    pub fn of(caller: &Caller) -> Self {
        let scope = Self::new(caller.app_id().clone());
        match (caller.session(), caller.user()) {
            (Some(session), _) => {
                let tag = caller.token().and_then(TokenRef::of).map(|at| *at.owner());
                Self { tag: session.user().and(tag), ..scope.with_owner(session.owner().clone()) }
            }
            (None, Some(subject)) => scope.with_subject(subject.clone()),
            (None, None) => scope,
        }
    }

    /// Sets the owner of the token, if [`Tokens`](crate::token::Tokens) issues the tokens.
    pub fn with_owner(self, owner: Owner) -> Self {
        Self { token: TokenScope::Owner(owner), ..self }
    }

    /// Sets the user of the token, if a [check](crate::Verifier::with_token_check) of the service knows it.
    pub fn with_subject(self, subject: Subject) -> Self {
        Self { token: TokenScope::Subject(subject), ..self }
    }

    /// Sets what the service's [`with_scope`](super::SubmitOnceLayer::with_scope) gives for the request, for example a tenant. An
    /// empty text is nothing.
    pub fn with_extra(self, extra: &str) -> Self {
        let extra = if extra.is_empty() { String::new() } else { BodyDigest::of(extra.as_bytes()).to_string() };
        Self { extra, ..self }
    }

    /// Returns the place of a submission with an idempotency key. `path` is the signed path: as the client sent it, without the
    /// query, and with the part that a proxy or a `nest` takes away.
    #[must_use]
    pub fn by_key(&self, scheme: &Scheme, method: &Method, path: &str, key: &IdempotencyKey) -> SubmissionRef {
        self.place("key", scheme, method, path, key.as_str())
    }

    pub(super) fn by_fingerprint(
        &self,
        scheme: &Scheme,
        method: &Method,
        path: &str,
        fingerprint: &Fingerprint,
    ) -> SubmissionRef {
        self.place("fingerprint", scheme, method, path, &BodyDigest::from(*fingerprint.as_bytes()).to_string())
    }

    /// Whether the scope distinguishes the callers of an app.
    pub(super) fn is_personal(&self) -> bool {
        !matches!(self.token, TokenScope::None) || !self.extra.is_empty()
    }

    pub(super) fn has_extra(&self) -> bool {
        !self.extra.is_empty()
    }

    /// No line but the last one can contain an LF, and the last one cannot either, so the lines can be read in one way only.
    fn place(&self, mode: &str, scheme: &Scheme, method: &Method, path: &str, key: &str) -> SubmissionRef {
        let scope = match &self.token {
            TokenScope::None => String::new(),
            TokenScope::Owner(owner) => {
                let (kind, id) = owner.kind_and_id();
                format!("{kind}:{id}")
            }
            TokenScope::Subject(subject) => format!("subject:{subject}"),
        };
        let mut digest = Sha256::new_with_prefix("CS1-SUBMIT");
        let lines = [mode, scheme.audience(), self.app_id.as_str(), &scope, &self.extra, method.as_str(), path, key];
        for line in lines {
            digest.update("\n");
            digest.update(line);
        }
        SubmissionRef::new(digest.finalize().into(), self.app_id.clone(), self.tag)
    }
}
