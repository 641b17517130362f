//! Panics in closures of the service are caught and counted. No request is lost.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use countersign::{
    Rejection, Secret, Verifier, clock::ManualClock, danger::ReportOnlyLayer, server::ServiceBody, store::key_fn,
};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    metrics::metrics_of,
    rig::{self, NOW, code, get, incoming, signed, verifier},
};

async fn respond(_: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new("served".into())))
}

#[tokio::test]
async fn panicking_renderer_is_replaced() {
    let renderer = |_: &Rejection| -> Response<Bytes> { panic!("the service's renderer panicked") };
    let service = verifier().0.into_layer().with_renderer(renderer).layer(service_fn(respond));
    let response = service.oneshot(incoming(get("/"))).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-error-code"]), (401, &"unsigned".parse().unwrap()));
    assert!(rig::bytes(response.into_body()).await.starts_with(b"{\"type\":\"urn:cs1:unsigned\""));
}

#[tokio::test]
async fn panicking_key_store_is_only_reported() {
    let keys = key_fn(|_| async { panic!("the service's store panicked") as Result<Option<Secret>, Infallible> });
    let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW));
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = reports.clone();
    let layer = ReportOnlyLayer::new(verifier, move |_, verdict| {
        sink.lock().unwrap().push(verdict.unwrap_err().kind().code());
    });
    let response = layer.layer(service_fn(respond)).oneshot(incoming(signed(get("/")))).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "served");
    assert_eq!(*reports.lock().unwrap(), ["unavailable"]);
}

#[test]
fn panics_of_closures_are_counted() {
    let text = metrics_of(async {
        let panicking =
            verifier().0.with_observer(|_| panic!("an observer")).with_insecure_bypass(|_, _| panic!("a bypass"));
        assert_eq!(code(&panicking, signed(get("/"))).await, "accepted");
        let layer = ReportOnlyLayer::new(verifier().0, |_, _| panic!("a report"));
        layer.layer(service_fn(respond)).oneshot(incoming(get("/"))).await.unwrap();
        let renderer = |_: &Rejection| -> Response<Bytes> { panic!("a renderer") };
        let service = verifier().0.into_layer().with_renderer(renderer).layer(service_fn(respond));
        for _ in 0..2 {
            service.clone().oneshot(incoming(get("/"))).await.unwrap();
        }
    });
    for (closure, panics) in [("bypass", 1), ("observer", 1), ("report", 1), ("renderer", 2)] {
        let line = format!("countersign_closure_panics_total{{closure=\"{closure}\"}} {panics}");
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}
