//! Errors, as the caller sees them.

use std::error::Error as _;

use orders_sdk::{BuildError, Client, Error, Order, RejectionKind, Secret};

use crate::{
    TemporaryFile,
    service::{Failure, SECRET, Service},
};

fn order(symbol: &str) -> Order {
    Order::new(symbol, 10)
}

#[tokio::test]
async fn wrong_key_is_named_in_the_error() {
    let service = Service::start([]).await;
    let client = service.builder(&"w".repeat(32)).build().unwrap();
    let error = client.place_order(&order("BTC")).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.kind() == Some(RejectionKind::InvalidSignature)));
    assert!(error.to_string().contains("the key is not a key of this app"), "{error}");
    assert_eq!(service.arrivals().len(), 1, "it is not retried");
}

#[tokio::test]
async fn changed_idempotency_key_is_refused() {
    let service = Service::start([Failure::KeyChanged]).await;
    let error = service.client().place_order(&order("BTC")).await.unwrap_err();
    assert!(error.to_string().contains("a signed header arrived with another value"), "{error}");
    assert_eq!(service.orders(), 0);
}

#[tokio::test]
async fn clock_days_off_is_named_in_the_error() {
    let service = Service::start_with_clock_offset([], 2 * 86_400).await;
    let error = service.client().orders().await.unwrap_err();
    assert!(error.to_string().contains("this clock is 172800 s behind the verifier's"), "{error}");
}

#[tokio::test]
async fn api_error_has_status_and_body() {
    let service = Service::start([]).await;
    let error = service.client().place_order(&order("NOPE")).await.unwrap_err();
    assert!(!error.is_outcome_unknown());
    let Error::Api(api) = error else { panic!("{error:?}") };
    assert_eq!(api.status, 422);
    let body: serde_json::Value = serde_json::from_str(&api.body).unwrap();
    assert_eq!(body["code"], "unknown_symbol");
    assert!(api.to_string().contains("there is no symbol NOPE"), "{api}");
}

#[tokio::test]
async fn undecodable_answer_is_an_error_of_its_own() {
    let service = Service::start([]).await;
    let error = service.client().place_order(&order("TEXT")).await.unwrap_err();
    assert!(matches!(&error, Error::Undecodable { status, .. } if *status == 200), "{error:?}");
    assert_eq!(service.arrivals().len(), 1);
}

#[tokio::test]
async fn long_answer_is_not_read_to_its_end() {
    let service = Service::start([]).await;
    let error = service.client().place_order(&order("LONG")).await.unwrap_err();
    assert!(matches!(&error, Error::Undecodable { status, .. } if *status == 200), "{error:?}");
    let error = service.client().place_order(&order("LONG ERROR")).await.unwrap_err();
    assert!(matches!(&error, Error::Api(api) if api.status == 500 && api.body.len() == 1 << 20), "{error}");
    assert!(error.to_string().len() < 300, "{error}");
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let service = Service::start([]).await;
    let error = service.client().place_order(&order("MOVED")).await.unwrap_err();
    assert!(matches!(&error, Error::Api(api) if api.status == 307), "{error:?}");
    assert_eq!(service.arrivals().len(), 1);
}

#[tokio::test]
async fn unreachable_service_is_not_an_unknown_outcome() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let builder = Client::builder(format!("http://{free}"), "demo", Secret::new(SECRET).unwrap());
    let client = builder.with_insecure_http().with_max_attempts(2).build().unwrap();
    let error = client.place_order(&order("BTC")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn missing_file_is_not_sent() {
    let service = Service::start([]).await;
    let error = service.client().upload("/nonexistent/file").await.unwrap_err();
    assert!(matches!(error, Error::NotMade(_)), "{error:?}");
    assert!(error.source().unwrap().to_string().starts_with("/nonexistent/file: "));
    assert!(service.arrivals().is_empty());
}

#[test]
fn http_needs_to_be_allowed() {
    let build = |url: &str| Client::builder(url, "demo", Secret::new(SECRET).unwrap()).build();
    assert!(build("https://api.example.com/v1").is_ok());
    for url in ["http://api.example.com", "ftp://a", "no url", "https://a/?b=1", "https://a/#b", "https://u:hunter2@a"]
    {
        let error = build(url).unwrap_err();
        assert!(matches!(error, BuildError::BaseUrl(_)), "{url}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    let error = Client::builder("https://a", "two words", Secret::new(SECRET).unwrap()).build().unwrap_err();
    assert!(error.to_string().starts_with("app id: expected"), "{error}");
}

#[tokio::test]
async fn no_text_shows_the_secret_or_a_signature() {
    let builder = Client::builder("https://u:hunter2@a", "demo", Secret::new(SECRET).unwrap());
    let service = Service::start([Failure::SentTwice]).await;
    let client = service.builder(SECRET).with_max_attempts(1).build().unwrap();
    let mut texts = vec![format!("{builder:?} {client:?}")];
    let file = TemporaryFile::new(b"file");
    let wrong = service.builder(&"w".repeat(32)).build().unwrap();
    let errors = [
        client.place_order(&order("BTC")).await.unwrap_err(),
        client.place_order(&order("NOPE")).await.unwrap_err(),
        wrong.place_order(&order("BTC")).await.unwrap_err(),
        wrong.upload(&file.0).await.unwrap_err(),
    ];
    for error in &errors {
        let source = error.source().map_or(String::new(), |source| format!("{source} {source:?}"));
        texts.push(format!("{error} {error:?} {source}"));
    }
    let signatures: Vec<_> = service.arrivals().iter().map(|arrival| arrival.header("x-sign").to_owned()).collect();
    assert_eq!(signatures.len(), 4);
    for text in texts {
        assert!(!text.contains(SECRET) && !text.contains("wwww") && !text.contains("hunter2"), "{text}");
        assert!(!signatures.iter().any(|sign| text.contains(sign)), "{text}");
    }
}
