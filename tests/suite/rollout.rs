//! The steps of docs/rollout.md with an old client and a new one. No permitted request is rejected at any step.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    routing::{get as on_get, post as on_post},
};
use bytes::Bytes;
use countersign::{Caller, SignLayer, StaticKeys, Verifier, VerifyLayer, danger::ReportOnlyLayer};
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt};

use crate::rig;

/// Counts verdicts by code.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u32>>>);

impl Counts {
    fn count(&self, code: &str) {
        *self.0.lock().unwrap().entry(code.to_owned()).or_default() += 1;
    }

    fn take(&self) -> Vec<(String, u32)> {
        std::mem::take(&mut *self.0.lock().unwrap()).into_iter().collect()
    }
}

async fn create(body: String) -> String {
    format!("ordered {body}")
}

async fn report(caller: Option<Caller>) -> String {
    caller.map_or("the public report".to_owned(), |caller| format!("the report of {}", caller.app_id()))
}

fn orders() -> Router {
    Router::new().route("/orders", on_post(create))
}

fn reports() -> Router {
    Router::new().route("/reports", on_get(report))
}

fn health() -> Router {
    Router::new().route("/health", on_get(async || "well"))
}

fn report_only(verifier: Verifier<StaticKeys>, counts: &Counts) -> ReportOnlyLayer<StaticKeys> {
    let counts = counts.clone();
    ReportOnlyLayer::new(verifier, move |_, verdict| match verdict {
        Ok(_) => counts.count("verified"),
        Err(rejection) => counts.count(rejection.kind().code()),
    })
}

async fn deploy(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn status_and_text<B: Body<Data = Bytes, Error: Debug>>(response: Response<B>) -> (u16, String) {
    let status = response.status().as_u16();
    (status, String::from_utf8(rig::bytes(response.into_body()).await.to_vec()).unwrap())
}

/// Creates an order, and gets the report and the health. The new client signs, the old one does not.
async fn call(service: SocketAddr, signs: bool) -> [(u16, String); 3] {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let signing = Client::builder(TokioExecutor::new()).build_http();
    let signing = ServiceBuilder::new().layer(SignLayer::new(rig::signer())).service(signing);
    let send = async |method: Method, path, body| {
        let request = Request::builder().method(method).uri(format!("http://{service}{path}"));
        let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
        let (status, text) = match signs {
            true => status_and_text(signing.clone().oneshot(request).await.unwrap()).await,
            false => status_and_text(client.clone().oneshot(request).await.unwrap()).await,
        };
        (status, if status == 200 { text } else { String::new() })
    };
    [
        send(Method::POST, "/orders", b"1").await,
        send(Method::GET, "/reports", b"").await,
        send(Method::GET, "/health", b"").await,
    ]
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[tokio::test]
async fn rollout_rejects_no_request() {
    let counts = Counts::default();
    let verdicts = |rows: &[(&str, u32)]| rows.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect::<Vec<_>>();
    let by_old = [ok("ordered 1"), ok("the public report"), ok("well")];
    let by_new = [ok("ordered 1"), ok("the report of demo"), ok("well")];

    // Before the rollout.
    let service = deploy(orders().merge(reports()).merge(health())).await;
    assert_eq!(call(service, false).await, by_old);

    // 1. Report only: the old client gets the same responses and is counted.
    let verifier = || Verifier::new(rig::keys());
    let service = deploy(orders().merge(reports()).layer(report_only(verifier(), &counts)).merge(health())).await;
    assert_eq!(call(service, false).await, by_old);
    assert_eq!(counts.take(), verdicts(&[("unsigned", 2)]));

    // 2. A client signs. 3. The service uses its identity. The old client still works.
    assert_eq!(call(service, true).await, by_new);
    assert_eq!(call(service, false).await, by_old);
    assert_eq!(counts.take(), verdicts(&[("unsigned", 2), ("verified", 2)]));

    // 4. Orders require a signature. Reports accept both clients.
    let one = verifier();
    let enforcing = VerifyLayer::from(one.clone());
    let app = orders().layer(enforcing).merge(reports().layer(report_only(one, &counts))).merge(health());
    let service = deploy(app).await;
    assert_eq!(call(service, true).await, by_new);
    assert_eq!(counts.take(), verdicts(&[("verified", 1)]));
    let [order, report, health_check] = call(service, false).await;
    assert_eq!((order.0, report, health_check), (401, ok("the public report"), ok("well")));

    // 5. All routes require a signature, except where a bypass covers the request.
    let verifier = verifier().with_insecure_bypass(|_, uri| uri.path() == "/health");
    let service = deploy(orders().merge(reports()).merge(health()).layer(VerifyLayer::from(verifier))).await;
    assert_eq!(call(service, true).await, by_new);
    let [order, report, health_check] = call(service, false).await;
    assert_eq!((order.0, report.0, health_check), (401, 401, ok("well")));
}

/// Clones of one verifier share their nonces, also in different layers.
#[tokio::test]
async fn both_layers_accept_a_request_once() {
    let verifier = Verifier::new(rig::keys());
    let report_only = orders().layer(report_only(verifier.clone(), &Counts::default()));
    let enforcing = orders().layer(VerifyLayer::from(verifier));
    let request = rig::signer().sign(Request::post("/orders").body("1").unwrap()).unwrap();
    let request = || request.clone().map(axum::body::Body::from);
    assert_eq!(report_only.oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(enforcing.oneshot(request()).await.unwrap().status(), 401);
}
