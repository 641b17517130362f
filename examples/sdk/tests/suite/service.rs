//! The service: an axum app behind a verifier, and failures that it plays.

mod handlers;

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::HeaderMap,
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{post, put},
};
use countersign::{
    App, AppId, Limits, StaticKeys, Verifier,
    clock::ManualClock,
    store::{KeyStore, StoreError},
    submission::SubmitOnceLayer,
};
use orders_sdk::{Builder, Client, IDEMPOTENCY_KEY, Secret, scheme};
use serde_json::Value;
use tokio::net::TcpListener;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What happens to one request. The service is healthy again for the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The connection is closed after the request was carried out.
    AnswerLost,
    /// The connection is closed within the answer's body.
    AnswerCut,
    /// Something on the way sends the request twice. The client gets the second answer.
    SentTwice,
    /// There is never an answer.
    Hangs,
    /// Somebody on the way changes the idempotency key.
    KeyChanged,
    /// The key store fails, so the verifier answers 503.
    Unavailable,
}

/// A request as it arrived, before the verifier.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

impl Arrival {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A service and what it has seen.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) url: String,
    state: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    failures: VecDeque<Failure>,
    arrivals: Vec<Arrival>,
    orders: Vec<Value>,
}

impl Service {
    /// Starts a service that plays these failures, one for each request, and is healthy afterwards.
    pub(crate) async fn start(failures: impl IntoIterator<Item = Failure>) -> Self {
        Self::start_with_clock_offset(failures, 0).await
    }

    /// The same, with the clock of the verifier this many seconds ahead.
    pub(crate) async fn start_with_clock_offset(failures: impl IntoIterator<Item = Failure>, offset: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Seen { failures: failures.into_iter().collect(), ..Seen::default() };
        let service = Self { url, state: Arc::new(Mutex::new(seen)) };
        let app = service.app(offset);
        tokio::spawn(async { axum::serve(listener, app).await });
        service
    }

    /// A client of this service.
    pub(crate) fn client(&self) -> Client {
        self.builder(SECRET).build().unwrap()
    }

    pub(crate) fn builder(&self, secret: &str) -> Builder {
        Client::builder(&self.url, "demo", Secret::new(secret).unwrap()).with_insecure_http()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.state.lock().unwrap().arrivals.clone()
    }

    /// The number of orders that were carried out.
    pub(crate) fn orders(&self) -> usize {
        self.state.lock().unwrap().orders.len()
    }

    /// Takes the next failure if it is of this kind.
    fn next_failure(&self, is_due: impl Fn(&Failure) -> bool) -> Option<Failure> {
        let failures = &mut self.state.lock().unwrap().failures;
        failures.front().copied().filter(is_due)?;
        failures.pop_front()
    }

    fn app(&self, clock_offset: i64) -> Router {
        let keys =
            Keys(StaticKeys::new([("demo".parse().unwrap(), Secret::new(SECRET).unwrap())]).unwrap(), self.clone());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        // It is up for an hour, because it refuses timestamps before its start.
        let clock = ManualClock::at(now.checked_add_signed(clock_offset - 3600).unwrap());
        let verifier = Verifier::new(keys).with_scheme(scheme().unwrap()).with_explanations().with_clock(clock.clone());
        let once = SubmitOnceLayer::by_key(&scheme().unwrap()).unwrap();
        clock.advance(Duration::from_secs(3600));
        let limits = Limits::new().with_body(64 * 1024 * 1024);
        let uploads = verifier.clone().with_limits(limits).with_streamed_bodies().into_layer();
        let files = Router::new().route("/v1/files/{digest}", put(handlers::store)).layer(uploads);
        let app = Router::new()
            .route("/v1/orders", post(handlers::place).get(handlers::list))
            .layer(once)
            .route("/v1/documents", post(handlers::store_form))
            .layer(verifier.with_fingerprints().into_layer());
        app.merge(files).layer(from_fn_with_state(self.clone(), fail)).with_state(self.clone())
    }
}

/// The keys, and the failure of their store.
struct Keys(StaticKeys, Service);

impl KeyStore for Keys {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        if self.1.next_failure(|failure| matches!(failure, Failure::Unavailable)).is_some() {
            return Err(StoreError::new("the database is restarting"));
        }
        self.0.keys(app).await
    }
}

/// Plays the next failure, outside the verifier.
async fn fail(State(service): State<Service>, mut request: Request, next: Next) -> Response {
    let arrival = Arrival { path: request.uri().path().to_owned(), headers: request.headers().clone() };
    service.state.lock().unwrap().arrivals.push(arrival);
    let failure = service.next_failure(|failure| !matches!(failure, Failure::Unavailable));
    match failure {
        Some(Failure::AnswerLost) => {
            next.run(request).await;
            // The task of the connection ends, and with it the connection.
            std::panic::resume_unwind(Box::new("the answer is lost"))
        }
        Some(Failure::AnswerCut) => {
            let (mut parts, body) = next.run(request).await.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap();
            // The head announces the whole body, and half of it follows.
            parts.headers.insert("content-length", bytes.len().into());
            Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2)))
        }
        Some(Failure::SentTwice) => {
            let (parts, body) = request.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap();
            let first = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
            assert!(next.clone().run(first).await.status().is_success());
            next.run(Request::from_parts(parts, Body::from(bytes))).await
        }
        Some(Failure::Hangs) => pending().await,
        Some(Failure::KeyChanged) => {
            request.headers_mut().insert(IDEMPOTENCY_KEY, "another".parse().unwrap());
            next.run(request).await
        }
        Some(Failure::Unavailable) | None => next.run(request).await,
    }
}
