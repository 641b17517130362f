//! Closures of the service's own that panic lose no request, and are counted.

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
    rig::{self, NOW, arriving, code, get, signed, verifier},
};

async fn answer(_: Request<ServiceBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new("served".into())))
}

#[tokio::test]
async fn a_renderer_that_panics_is_replaced() {
    let renderer = |_: &Rejection| -> Response<Bytes> { panic!("a renderer of the service's own") };
    let service = verifier().0.into_layer().with_renderer(renderer).layer(service_fn(answer));
    let response = service.oneshot(arriving(get("/"))).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["x-error-code"]), (401, &"unsigned".parse().unwrap()));
    assert!(rig::bytes(response.into_body()).await.starts_with(b"{\"type\":\"urn:cs1:unsigned\""));
}

#[tokio::test]
async fn a_store_that_panics_is_only_reported() {
    let keys = key_fn(|_| async { panic!("a store of the service's own") as Result<Option<Secret>, Infallible> });
    let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW));
    let reports = Arc::new(Mutex::new(Vec::new()));
    let sink = reports.clone();
    let layer = ReportOnlyLayer::new(verifier, move |_, verdict| {
        sink.lock().unwrap().push(verdict.unwrap_err().kind().code());
    });
    let response = layer.layer(service_fn(answer)).oneshot(arriving(signed(get("/")))).await.unwrap();
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
        layer.layer(service_fn(answer)).oneshot(arriving(get("/"))).await.unwrap();
        let renderer = |_: &Rejection| -> Response<Bytes> { panic!("a renderer") };
        let service = verifier().0.into_layer().with_renderer(renderer).layer(service_fn(answer));
        for _ in 0..2 {
            service.clone().oneshot(arriving(get("/"))).await.unwrap();
        }
    });
    for (closure, panics) in [("bypass", 1), ("observer", 1), ("report", 1), ("renderer", 2)] {
        let line = format!("countersign_closure_panics_total{{closure=\"{closure}\"}} {panics}");
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}
