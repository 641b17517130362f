//! An incoming body. It is read as late as possible, and checked against the signed digest or parameters.

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::{
    collect::{AtOnce, Collect, CollectError, look_at_once},
    protocol::{BodyDigest, BoxError, Field, Rejection, Scheme},
    server::{
        body::{
            admitted::AdmittedBody,
            budget::Share,
            check::{BodyExpectation, broken, mismatch, too_large},
            observed::{ObservedBody, VerdictHook},
            request::RequestBody,
            streamed::{BodyRefusal, StreamedBody},
            unverified::UnverifiedBody,
        },
        outcome::OutcomeRecorder,
    },
};

pub(in crate::server) enum IncomingBody<B> {
    /// A body that was not polled yet.
    Unread(B),
    /// A buffered form, whose parameters are signed.
    Form(Bytes),
}

/// The time at which the service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum BodyMode {
    /// After the body is buffered and checked.
    Buffered,
    /// While the body arrives.
    Streamed,
    /// While the body arrives. The body is never rejected.
    ReportOnly,
}

impl<B: RequestBody> IncomingBody<B> {
    /// Whether the body has no bytes, as far as its head tells.
    pub(in crate::server) fn is_empty(&self) -> bool {
        match self {
            Self::Form(bytes) => bytes.is_empty(),
            Self::Unread(body) => body.is_end_stream(),
        }
    }

    pub(in crate::server) fn form(&self) -> Option<&Bytes> {
        match self {
            Self::Form(bytes) => Some(bytes),
            Self::Unread(_) => None,
        }
    }

    /// Checks the body against its signed digest, or a form without a digest against its signed parameters. A body with
    /// neither must be empty. A body that has not arrived is returned as [`BodyCheck::Unread`].
    pub(in crate::server) fn check(
        self,
        BodyExpectation { length, digest, form: bound_form }: BodyExpectation,
        body_mode: BodyMode,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<BodyCheck<B>, Rejection> {
        let admitted = match (self, digest) {
            (Self::Form(bytes), Some(digest)) => AdmittedBody::whole(signed(bytes, digest)?),
            (Self::Form(_), None) => AdmittedBody::whole(bound_form),
            (Self::Unread(body), None) if body.is_end_stream() => AdmittedBody::whole(Bytes::new()),
            (Self::Unread(body), Some(digest)) if body_mode == BodyMode::Streamed && !body.is_end_stream() => {
                let refusal = BodyRefusal::default();
                let body = StreamedBody::new(body, digest, length, refusal.clone(), recorder.of_body());
                AdmittedBody::streamed(body.boxed_unsync(), refusal)
            }
            (Self::Unread(body), Some(digest)) if body_mode == BodyMode::ReportOnly && !body.is_end_stream() => {
                let hook = VerdictHook::default();
                let body = ObservedBody::new(body, digest, length, hook.clone(), recorder.of_body());
                AdmittedBody::observed(UnverifiedBody::new(body), hook)
            }
            (Self::Unread(body), digest) => {
                return Ok(BodyCheck::Unread(UnreadBody { body, start: Bytes::new(), digest, limit: length.limit }));
            }
        };
        Ok(BodyCheck::Now(admitted))
    }
}

/// The result of a check that does not wait for the body.
pub(in crate::server) enum BodyCheck<B> {
    Now(AdmittedBody),
    Unread(UnreadBody<B>),
}

/// A body that must arrive before it can be checked.
pub(in crate::server) struct UnreadBody<B> {
    body: B,
    /// The bytes that were already read.
    start: Bytes,
    digest: Option<BodyDigest>,
    limit: u64,
}

impl<B: RequestBody> UnreadBody<B> {
    /// Checks the body if it has arrived.
    pub(in crate::server) async fn check_at_once(&mut self) -> Option<Result<AdmittedBody, Rejection>> {
        let digest = self.digest?;
        match look_at_once(&mut self.body, self.limit).await {
            Ok(AtOnce::Whole(bytes)) => Some(signed(bytes, digest).map(AdmittedBody::whole)),
            Ok(AtOnce::Start(start)) => {
                self.start = start;
                None
            }
            Err(error) => Some(Err(unreadable(error, self.limit))),
        }
    }

    /// Reads and checks the body. Fails if the budget ends its share.
    pub(in crate::server) async fn check(self, scheme: &Scheme, share: Share<'_>) -> Result<AdmittedBody, Rejection> {
        let bytes = match self.digest {
            Some(digest) => signed(read(self.body, self.start, self.limit, share).await?, digest)?,
            None => read_nothing(self.body, scheme).await?,
        };
        Ok(AdmittedBody::whole(bytes))
    }
}

fn signed(bytes: Bytes, digest: BodyDigest) -> Result<Bytes, Rejection> {
    if BodyDigest::of(&bytes) == digest { Ok(bytes) } else { Err(mismatch()) }
}

/// Reads a whole body. `start` was already read. Fails if the budget ends its share.
pub(in crate::server) async fn read<B: RequestBody>(
    body: B,
    start: Bytes,
    limit: u64,
    share: Share<'_>,
) -> Result<Bytes, Rejection> {
    Collect::new(body, start, limit, share).await.map_err(|error| unreadable(error, limit))
}

pub(in crate::server) fn unreadable<E: Into<BoxError>>(error: CollectError<E>, limit: u64) -> Rejection {
    match error {
        CollectError::TooLarge => too_large(limit),
        CollectError::Broken(error) => broken(error),
        CollectError::NoRoom(ended) => Rejection::unavailable(ended),
    }
}

/// Checks that a body without a signed digest has no bytes.
async fn read_nothing<B: RequestBody>(body: B, scheme: &Scheme) -> Result<Bytes, Rejection> {
    let mut body = std::pin::pin!(body);
    while !body.is_end_stream() {
        match body.as_mut().frame().await {
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| !data.is_empty()) => {
                let name = scheme.header_name(Field::BodyDigest).as_str().to_owned();
                let advice = "a body came without its digest: send the SHA-256 of its bytes, and sign it";
                return Err(Rejection::missing(name, advice));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(broken(error)),
            None => break,
        }
    }
    Ok(Bytes::new())
}
