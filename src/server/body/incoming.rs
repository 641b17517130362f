//! A body on its way in: read as late as possible, and checked against what was signed of it.

use std::task::Context;

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
    /// Not a byte of it was asked for.
    Unread(B),
    /// A form, whose parameters are signed.
    Form(Bytes),
}

/// When the service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum BodyMode {
    /// When the body is there and is the one that was signed.
    Buffered,
    /// While it arrives.
    Streamed,
    /// While it arrives, and to its end whatever it is.
    ReportOnly,
}

impl<B: RequestBody> IncomingBody<B> {
    pub(in crate::server) fn form(&self) -> Option<&Bytes> {
        match self {
            Self::Form(bytes) => Some(bytes),
            Self::Unread(_) => None,
        }
    }

    /// Compares the body with what binds it: its signed digest; or of a form its parameters, which are signed; or
    /// nothing, so that there must be none. What has to be waited for is left.
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

/// A body as far as it can be checked without waiting for it.
pub(in crate::server) enum BodyCheck<B> {
    Now(AdmittedBody),
    Unread(UnreadBody<B>),
}

/// A body that has to be there before it can be checked.
pub(in crate::server) struct UnreadBody<B> {
    body: B,
    /// What was read of it.
    start: Bytes,
    digest: Option<BodyDigest>,
    limit: u64,
}

impl<B: RequestBody> UnreadBody<B> {
    /// Checks it if it is there at once.
    pub(in crate::server) fn check_at_once(
        &mut self,
        context: &mut Context<'_>,
    ) -> Option<Result<AdmittedBody, Rejection>> {
        let digest = self.digest?;
        match look_at_once(&mut self.body, self.limit, context) {
            Ok(AtOnce::Whole(bytes)) => Some(signed(bytes, digest).map(AdmittedBody::whole)),
            Ok(AtOnce::Start(start)) => {
                self.start = start;
                None
            }
            Err(error) => Some(Err(unreadable(error, self.limit))),
        }
    }

    /// Reads it as long as this share of the budget of all bodies holds it.
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

/// Reads a body whole, of which `start` was read already, as long as its share of a budget holds it.
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

/// Makes sure that no byte arrives where none was signed.
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
