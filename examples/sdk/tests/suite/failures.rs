//! Failures that the client survives, and those that it must not retry.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use orders_sdk::{Document, Error, Order, RejectionKind};

use crate::{
    TemporaryFile,
    service::{Failure, SECRET, Service},
};

fn document() -> Document {
    Document { title: "Invoice".into(), file_name: "invoice.pdf".into(), bytes: b"%PDF".to_vec() }
}

/// Asserts that so many attempts arrived, each with the key of the order and a nonce of its own.
fn assert_attempts(service: &Service, order: &Order, count: usize) {
    let arrivals = service.arrivals();
    assert_eq!(arrivals.len(), count);
    assert!(arrivals.iter().all(|arrival| arrival.header("idempotency-key") == order.key.to_string()));
    let nonces: HashSet<_> = arrivals.iter().map(|arrival| arrival.header("x-nonce")).collect();
    assert_eq!(nonces.len(), count, "each attempt has a fresh nonce");
}

#[tokio::test]
async fn lost_answer_is_retried_with_the_same_key() {
    for failure in [Failure::AnswerLost, Failure::AnswerCut] {
        let service = Service::start([failure]).await;
        let order = Order::new("BTC", 10);
        assert_eq!(service.client().place_order(&order).await.unwrap().id, 0);
        assert_attempts(&service, &order, 2);
        assert_eq!(service.orders(), 1, "{failure:?}");
    }
}

#[tokio::test]
async fn timeout_is_retried_with_the_same_key() {
    let service = Service::start([Failure::Hangs]).await;
    let client = service.builder(SECRET).with_attempt_timeout(Duration::from_millis(300)).build().unwrap();
    let order = Order::new("BTC", 10);
    assert_eq!(client.place_order(&order).await.unwrap().id, 0);
    assert_attempts(&service, &order, 2);
}

#[tokio::test]
async fn replayed_nonce_is_retried_with_the_same_key() {
    let service = Service::start([Failure::SentTwice]).await;
    let order = Order::new("BTC", 10);
    assert_eq!(service.client().place_order(&order).await.unwrap().id, 0);
    assert_attempts(&service, &order, 2);
    assert_eq!(service.orders(), 1);
}

#[tokio::test]
async fn running_order_is_awaited() {
    let service = Service::start([]).await;
    let client = service.builder(SECRET).with_attempt_timeout(Duration::from_millis(300)).build().unwrap();
    let order = Order::new("SLOW", 10);
    assert_eq!(client.place_order(&order).await.unwrap().id, 0);
    assert!(service.arrivals().len() > 2, "the first attempt was cut, and the second came while it ran");
    assert_eq!(service.orders(), 1);
}

#[tokio::test]
async fn order_that_fails_in_the_service_is_not_placed_again() {
    let service = Service::start([]).await;
    let order = Order::new("BROKEN", 10);
    let error = service.client().place_order(&order).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error:?}");
    assert_eq!(error.refusal().unwrap().kind(), Some(RejectionKind::SubmissionOutcomeUnknown));
    assert_attempts(&service, &order, 2);
    assert_eq!(service.orders(), 1);
}

#[tokio::test]
async fn lost_answer_that_is_not_stored_is_a_duplicate() {
    let service = Service::start([Failure::AnswerLost]).await;
    let error = service.client().place_order(&Order::new("PRIVATE", 10)).await.unwrap_err();
    let Error::Duplicate(refusal) = &error else { panic!("{error:?}") };
    assert_eq!(refusal.first_status().unwrap(), 200);
    assert_eq!(error.to_string(), "the service has answered this order before: 200 OK");
    assert_eq!(service.orders(), 1);
}

#[tokio::test]
async fn unavailable_verifier_is_retried_after_its_retry_after() {
    let service = Service::start([Failure::Unavailable]).await;
    let (order, started) = (Order::new("BTC", 10), Instant::now());
    assert_eq!(service.client().place_order(&order).await.unwrap().id, 0);
    assert!(started.elapsed() >= Duration::from_secs(1), "the verifier suggests a second");
    assert_attempts(&service, &order, 2);
}

#[tokio::test]
async fn unavailable_verifier_is_an_error_without_retries() {
    let service = Service::start([Failure::Unavailable]).await;
    let client = service.builder(SECRET).with_max_attempts(1).build().unwrap();
    let error = client.orders().await.unwrap_err();
    let Error::Refused(refusal) = &error else { panic!("{error:?}") };
    assert_eq!(refusal.kind(), Some(RejectionKind::Unavailable));
    assert_eq!(refusal.retry_after(), Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn get_and_file_are_retried() {
    let service = Service::start([Failure::AnswerLost, Failure::AnswerCut]).await;
    assert_eq!(service.client().orders().await.unwrap(), []);
    assert_eq!(service.arrivals().len(), 3);

    let service = Service::start([Failure::AnswerLost, Failure::AnswerCut]).await;
    let file = TemporaryFile::new(&vec![b'x'; 100_000]);
    assert_eq!(service.client().upload(&file.0).await.unwrap().bytes, 100_000);
    assert_eq!(service.arrivals().len(), 3);
}

#[tokio::test]
async fn post_without_key_is_sent_once() {
    for failure in [Failure::AnswerLost, Failure::SentTwice, Failure::Unavailable] {
        let service = Service::start([failure]).await;
        let error = service.client().upload_form(document()).await.unwrap_err();
        let is_refused = matches!(failure, Failure::Unavailable);
        assert_eq!(error.is_outcome_unknown(), !is_refused, "{failure:?} {error:?}");
        assert_eq!(service.arrivals().len(), 1, "{failure:?}");
    }
}

#[tokio::test]
async fn refusal_after_a_lost_answer_leaves_the_outcome_unknown() {
    let service = Service::start([Failure::AnswerLost, Failure::KeyChanged]).await;
    let error = service.client().place_order(&Order::new("BTC", 10)).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error:?}");
    assert_eq!(error.refusal().unwrap().kind(), Some(RejectionKind::InvalidSignature));
    assert_eq!(service.orders(), 1, "and it was carried out");
}

#[tokio::test]
async fn deadline_ends_the_call() {
    let service = Service::start([Failure::Hangs]).await;
    let client = service.builder(SECRET).with_deadline(Duration::from_millis(200)).build().unwrap();
    let started = Instant::now();
    assert!(client.place_order(&Order::new("BTC", 10)).await.unwrap_err().is_outcome_unknown());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn clock_ten_minutes_off_is_corrected() {
    for offset in [-600, 600] {
        let service = Service::start_with_clock_offset([], offset).await;
        let client = service.client();
        client.place_order(&Order::new("BTC", 10)).await.unwrap();
        client.orders().await.unwrap();
        assert_eq!(service.arrivals().len(), 3, "the first call is sent twice");
    }
}

#[tokio::test]
async fn clock_is_corrected_by_an_upload_too() {
    let service = Service::start_with_clock_offset([], 600).await;
    let file = TemporaryFile::new(b"a file");
    assert_eq!(service.client().upload(&file.0).await.unwrap().bytes, 6);
    assert_eq!(service.arrivals().len(), 2);
}
