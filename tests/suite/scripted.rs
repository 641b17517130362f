//! Streamed and report-only bodies against a model, for any frames, size hints and declared lengths.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    BodyDigest, Limits, Payload, StaticKeys, Verifier,
    danger::ReportOnlyLayer,
    server::{ServiceBody, UnverifiedBody},
};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::{collection::vec, option, prelude::*};
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, NOW, verifier};

const LIMIT: u64 = 20;

#[derive(Clone, Debug)]
enum Step {
    Data(Vec<u8>),
    Trailers,
    Pending,
    Fail,
}

/// A body that performs these steps and then ends. It must not be polled after its end.
struct Script {
    steps: VecDeque<Step>,
    has_ended: bool,
    knows_end: bool,
    knows_length: bool,
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        assert!(!self.has_ended, "polled after its end");
        match self.steps.pop_front() {
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(Step::Pending) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Fail) => {
                self.has_ended = true;
                Poll::Ready(Some(Err(std::io::Error::other("reset"))))
            }
            None => {
                self.has_ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.knows_length {
            true => SizeHint::with_exact(sent(self.steps.iter()).len() as u64),
            false => SizeHint::new(),
        }
    }
}

fn sent<'a>(steps: impl Iterator<Item = &'a Step>) -> Vec<u8> {
    let data = steps.map(|step| if let Step::Data(data) = step { &data[..] } else { &[] });
    data.flatten().copied().collect()
}

#[derive(Clone, Debug)]
struct Case {
    steps: Vec<Step>,
    /// The signed bytes, if they differ from the sent ones.
    signed: Option<Vec<u8>>,
    /// The difference between Content-Length and the real length, if the header is present.
    declared: Option<i64>,
    knows_end: bool,
    knows_length: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let data = vec(prop::sample::select(&b"ab"[..]), 0..7).prop_map(Step::Data);
    let step = prop_oneof![10 => data, 2 => Just(Step::Pending), 1 => Just(Step::Trailers), 1 => Just(Step::Fail)];
    let signed = option::weighted(0.4, vec(prop::sample::select(&b"ab"[..]), 0..12));
    let declared = option::of(prop_oneof![4 => Just(0_i64), 1 => -3..3_i64]);
    (vec(step, 0..7), signed, declared, any::<bool>(), any::<bool>()).prop_map(
        |(mut steps, signed, declared, knows_end, knows_length)| {
            // Drop the steps after a failure.
            let failed = steps.iter().position(|step| matches!(step, Step::Fail));
            steps.truncate(failed.map_or(steps.len(), |at| at + 1));
            Case { steps, signed, declared, knows_end, knows_length: knows_length && failed.is_none() }
        },
    )
}

impl Case {
    fn sent(&self) -> Vec<u8> {
        sent(self.steps.iter())
    }

    fn is_interrupted(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Fail))
    }

    fn declared(&self) -> Option<u64> {
        self.declared.map(|error| self.sent().len().saturating_add_signed(error as isize) as u64)
    }

    /// Whether the body is the signed one, has its declared length, and is within the limit.
    fn is_valid(&self) -> bool {
        let (sent, declared) = (self.sent(), self.declared());
        let length = sent.len() as u64;
        // A body that is known to be empty is buffered, so its declared length is not enforced. The verifier takes the
        // smaller of two lengths. The length that the body itself reports is correct.
        let is_known = self.knows_length || (self.knows_end && self.steps.is_empty());
        let is_as_long = declared.is_none_or(|declared| declared == length || is_known && declared > length);
        !self.is_interrupted()
            && self.signed.as_ref().is_none_or(|signed| *signed == sent)
            && is_as_long
            && length.max(declared.unwrap_or(0)) <= LIMIT
    }

    fn request(&self) -> Request<UnverifiedBody> {
        let (mut parts, ()) = Request::put("/files/1").body(()).unwrap().into_parts();
        let digest = BodyDigest::of(self.signed.as_ref().unwrap_or(&self.sent()));
        let nonce = rig::fresh_nonce();
        rig::signer().sign_at(&mut parts, Payload::Digest(digest), NOW.try_into().unwrap(), nonce).unwrap();
        if let Some(declared) = self.declared() {
            parts.headers.insert("content-length", declared.into());
        }
        let steps = self.steps.clone().into();
        let (knows_end, knows_length) = (self.knows_end, self.knows_length);
        Request::from_parts(parts, UnverifiedBody::new(Script { steps, has_ended: false, knows_end, knows_length }))
    }
}

fn buffering() -> Verifier<StaticKeys> {
    // The bodies are pending at times, and the runtime has no timers.
    verifier().0.with_limits(Limits::new().with_body(LIMIT).with_body_timeout(Duration::MAX))
}

/// The bytes that a service gets, and whether the body ended without an error.
async fn read(body: &mut ServiceBody) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(_) => return (bytes, false),
        }
    }
    (bytes, true)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn only_the_signed_streamed_body_ends_without_error(case in case()) {
        block_on(async {
            let verified = buffering().with_streamed_bodies().verify(case.request()).await;
            let Ok(request) = verified else {
                prop_assert!(!case.is_valid());
                return Ok(());
            };
            let forwarded: Option<usize> = request.headers().get("content-length").map(|n| n.to_str().unwrap().parse().unwrap());
            let (sent, mut body) = (case.sent(), request.into_body());
            let exact = body.size_hint().exact();
            prop_assert!(!body.is_end_stream() || case.is_valid());
            let (bytes, ended_without_error) = read(&mut body).await;
            prop_assert_eq!(ended_without_error, case.is_valid());
            prop_assert!(body.is_end_stream());
            prop_assert!(sent.starts_with(&bytes));
            if ended_without_error {
                prop_assert_eq!(&bytes, &sent);
                prop_assert!(forwarded.is_none_or(|length| length == bytes.len()));
                prop_assert!(exact.is_none_or(|exact| exact == bytes.len() as u64));
            } else if !sent.is_empty() {
                // Fewer bytes than a forwarding service expects.
                prop_assert!(forwarded.is_none_or(|length| bytes.len() < length.max(1)));
                prop_assert!(exact.is_none_or(|exact| (bytes.len() as u64) < exact.max(1)));
            }
            Ok(())
        })?;
    }

    #[test]
    fn reported_body_is_unchanged_and_reported_once(case in case(), streams in any::<bool>()) {
        block_on(async {
            let verifier = if streams { buffering().with_streamed_bodies() } else { buffering() };
            let reports = Arc::new(Mutex::new(Vec::new()));
            let sink = reports.clone();
            let layer = ReportOnlyLayer::new(verifier, move |_, verdict| sink.lock().unwrap().push(verdict.is_ok()));
            let service = layer.layer(service_fn(async |request: Request<ServiceBody>| {
                Ok::<_, Infallible>(Response::new(read(&mut request.into_body()).await))
            }));
            let (bytes, ended_without_error) = service.oneshot(case.request()).await.unwrap().into_body();
            prop_assert_eq!(bytes, case.sent());
            prop_assert_eq!(ended_without_error, !case.is_interrupted());
            // A buffered body may have a wrong Content-Length. Only streamed bodies must match it.
            let reports = reports.lock().unwrap().clone();
            prop_assert_eq!(reports.len(), 1);
            // A forwarding service stops after the declared number of bytes.
            let left = case.declared().map(|declared| declared as i64 - case.sent().len() as i64);
            let is_seen_whole = left.is_none_or(|left| left > 0 || left == 0 && !case.is_interrupted());
            if is_seen_whole && (streams || case.declared.is_none()) {
                prop_assert_eq!(reports[0], case.is_valid());
            }
            Ok(())
        })?;
    }
}
