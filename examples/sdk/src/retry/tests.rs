//! The loop without a network, on a clock that jumps to the next timer.
#![allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    cell::{Cell, RefCell},
    future::{pending, ready},
};

use countersign::Refusal;
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};

use super::*;
use crate::ApiError;

const DEADLINE: Duration = Duration::from_secs(30);

fn lost() -> Error {
    Error::OutcomeUnknown("the connection broke".into())
}

fn refused(code: &'static str, retry_after: &'static str) -> Error {
    let code = (HeaderName::from_static("x-error-code"), HeaderValue::from_static(code));
    let headers = HeaderMap::from_iter([code, (RETRY_AFTER, HeaderValue::from_static(retry_after))]);
    Refusal::from_response(StatusCode::SERVICE_UNAVAILABLE, &headers, b"").unwrap().into()
}

fn api(status: u16) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    ApiError { status, body: String::new(), retry_after: None }.into()
}

/// Runs at most 4 attempts with these errors, and returns the error, the number of attempts and the time that it took.
async fn run_with(repeat: Repeat, errors: Vec<Error>) -> (Result<(), Error>, u32, Duration) {
    let (started, count) = (Instant::now(), Cell::new(0));
    let errors = RefCell::new(errors.into_iter());
    let attempt = || {
        count.set(count.get() + 1);
        ready(errors.borrow_mut().next().map_or(Ok(()), Err))
    };
    let result = run(4, DEADLINE, repeat, attempt).await;
    (result, count.get(), started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn lost_answer_is_retried_only_if_safe() {
    let (result, count, _) = run_with(Repeat::Safe, vec![lost(), lost()]).await;
    assert!(result.is_ok() && count == 3);
    let (result, count, _) = run_with(Repeat::Never, vec![lost()]).await;
    assert!(matches!(result, Err(Error::OutcomeUnknown(_))) && count == 1);
}

#[tokio::test(start_paused = true)]
async fn replayed_nonce_is_an_unknown_outcome() {
    let (result, count, _) = run_with(Repeat::Safe, vec![refused("replayed_nonce", "0")]).await;
    assert!(result.is_ok() && count == 2);
    let error = run_with(Repeat::Never, vec![refused("replayed_nonce", "0")]).await.0.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert_eq!(error.refusal().unwrap().code(), "replayed_nonce");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    let (result, count, took) = run_with(Repeat::Safe, vec![refused("unavailable", "7")]).await;
    assert!(result.is_ok() && count == 2);
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_beyond_the_deadline_ends_the_call() {
    for seconds in ["30", "18446744073709551615"] {
        let (result, count, took) = run_with(Repeat::Safe, vec![refused("unavailable", seconds)]).await;
        assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
        assert_eq!((count, took), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_and_final_errors_end_the_call() {
    let (result, count, took) = run_with(Repeat::Safe, (0..9).map(|_| api(503)).collect()).await;
    assert!(matches!(result, Err(Error::Api(_))) && count == 4);
    assert!(took >= Duration::from_millis(700) && took <= Duration::from_millis(1410), "{took:?}");
    for error in [api(400), api(500), refused("invalid_signature", "0"), refused("stale_timestamp", "0")] {
        assert_eq!(run_with(Repeat::Safe, vec![error]).await.1, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn deadline_ends_an_attempt_with_unknown_outcome() {
    let started = Instant::now();
    let error = run(4, DEADLINE, Repeat::Safe, pending::<Result<(), _>>).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert!(started.elapsed() >= DEADLINE && started.elapsed() < DEADLINE + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn refusal_does_not_settle_an_earlier_attempt() {
    for refusal in [refused("invalid_signature", "0"), refused("unavailable", "60"), api(429), api(307)] {
        let mut errors = vec![lost(), refusal];
        errors.extend((0..9).map(|_| api(429)));
        let error = run_with(Repeat::Safe, errors).await.0.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown(_)), "{error:?}");
    }
    let error = run_with(Repeat::Safe, vec![lost(), api(422)]).await.0.unwrap_err();
    assert!(!error.is_outcome_unknown(), "the service has decided: {error:?}");
}

#[test]
fn backoff_doubles_to_a_bound_with_jitter() {
    for (attempts, longest) in [(1, 200), (2, 400), (3, 800), (6, 5000), (u32::MAX, 5000)] {
        let longest = Duration::from_millis(longest);
        let waits: Vec<_> = (0..100).map(|_| backoff(attempts)).collect();
        assert!(waits.iter().all(|wait| *wait >= longest / 2 && *wait <= longest), "{waits:?}");
        assert!(waits.iter().any(|wait| wait != &waits[0]), "no jitter");
    }
}
