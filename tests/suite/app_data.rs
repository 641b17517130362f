//! Data of an app reaches the handler from each key store.

use std::sync::Arc;

use axum::{Router, body::Body, routing::post as on_post};
use countersign::{
    App, AppId, Caller, KeyRing, StaticKeys, Verifier,
    clock::ManualClock,
    store::{CachedKeys, DynKeyStore, FileKeys, KeyStore, key_fn},
};
use tower::ServiceExt;

use crate::{
    keys::KeyFile,
    rig::{self, NOW, post, secret, signed},
};

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    tenant: u32,
}

struct Other;

fn id() -> AppId {
    "demo".parse().unwrap()
}

fn with_plan(tenant: u32) -> App {
    App::new(secret()).with_data(Plan { tenant })
}

/// The tenant that a handler behind this store reads. `None` if the app has no data of that type.
async fn tenant<K: KeyStore>(keys: K) -> Option<u32> {
    let verifier = Verifier::new(keys).with_clock(ManualClock::at(NOW));
    let request = rig::verify(&verifier, signed(rig::get("/"))).await.unwrap();
    let caller = request.extensions().get::<Caller>().unwrap();
    assert!(caller.data::<Other>().is_none(), "data of another type");
    caller.data::<Plan>().map(|plan| plan.tenant)
}

#[tokio::test]
async fn data_reaches_the_caller_from_each_store() {
    assert_eq!(tenant(StaticKeys::new([(id(), with_plan(1))]).unwrap()).await, Some(1));
    assert_eq!(tenant(key_fn(|_| async { Ok::<_, std::io::Error>(Some(with_plan(2))) })).await, Some(2));
    assert_eq!(
        tenant(Arc::new(StaticKeys::new([(id(), with_plan(3))]).unwrap()) as Arc<dyn DynKeyStore>).await,
        Some(3)
    );
    assert_eq!(
        tenant(Box::new(StaticKeys::new([(id(), with_plan(4))]).unwrap()) as Box<dyn DynKeyStore>).await,
        Some(4)
    );
    let cached = CachedKeys::new(StaticKeys::new([(id(), with_plan(5))]).unwrap());
    assert_eq!([tenant(cached.clone()).await, tenant(cached).await], [Some(5), Some(5)]);
}

#[tokio::test]
async fn app_without_data_has_none() {
    assert_eq!(tenant(StaticKeys::new([(id(), secret())]).unwrap()).await, None);
    assert_eq!(tenant(StaticKeys::new([(id(), KeyRing::from(secret()))]).unwrap()).await, None);
    assert_eq!(
        tenant(StaticKeys::new([(id(), App::new(secret()).with_data(Other).with_data(Plan { tenant: 6 }))]).unwrap())
            .await,
        Some(6)
    );
}

#[tokio::test]
async fn cached_data_is_replaced_with_the_keys() {
    let tenants = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let store = key_fn(move |_| {
        let tenant = tenants.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { Ok::<_, std::io::Error>(Some(with_plan(tenant))) }
    });
    let cached = CachedKeys::new(store);
    assert_eq!([tenant(cached.clone()).await, tenant(cached.clone()).await], [Some(0), Some(0)]);
    cached.invalidate(&id());
    assert_eq!(tenant(cached).await, Some(1));
}

#[tokio::test]
async fn handler_reads_the_data() {
    async fn order(caller: Caller) -> String {
        format!("tenant {}", caller.data::<Plan>().unwrap().tenant)
    }
    let verifier = Verifier::new(StaticKeys::new([(id(), with_plan(7))]).unwrap()).with_clock(ManualClock::at(NOW));
    let app = Router::new().route("/orders", on_post(order)).layer(verifier.into_layer());
    let response = app.oneshot(signed(post("/orders", "text/plain", "x")).map(Body::from)).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "tenant 7");
}

fn file(data: &str) -> KeyFile {
    KeyFile::new(format!("[apps.demo]\n{data}\nkeys = [{{ secret = 'text:{}' }}]\n", rig::KEY))
}

#[tokio::test]
async fn key_file_data_has_the_services_type() {
    let with_data = file("data = { tenant = 8 }");
    let keys = FileKeys::open_with_data::<Plan>(with_data.path()).unwrap();
    assert_eq!(tenant(keys.clone()).await, Some(8));
    with_data.replace(format!("[apps.demo]\ndata.tenant = 9\nkeys = [{{ secret = 'text:{}' }}]\n", rig::KEY));
    keys.reload().unwrap();
    assert_eq!(tenant(keys).await, Some(9));
    assert_eq!(tenant(FileKeys::open_with_data::<Plan>(file("").path()).unwrap()).await, None);
}

#[test]
fn invalid_data_is_an_error_with_its_line() {
    let form = "the data of app demo: it is not of the form that this service expects";
    for (data, problem) in [
        ("data = { tenant = 's3cret' }", form),
        ("data = { tenant = 1, s3cret = 2 }", form),
        ("data = 's3cret'", form),
        ("data = { }", "the data of app demo: missing field `tenant`"),
    ] {
        let error = FileKeys::open_with_data::<Plan>(file(data).path()).unwrap_err();
        assert_eq!(error.line(), Some(2), "{error}");
        assert!(error.to_string().ends_with(problem), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let error = FileKeys::open(file("data = { tenant = 1 }").path()).unwrap_err();
    assert!(error.to_string().contains("open_with_data"), "{error}");
}

#[test]
fn debug_output_shows_no_data() {
    #[derive(Debug)]
    struct Token(#[expect(dead_code, reason = "it is printed")] &'static str);
    let app = App::new(secret()).with_data(Token("s3cret"));
    let caller = Caller::for_test(id()).with_test_data(Token("s3cret"));
    assert!(!format!("{app:?} {caller:?}").contains("s3cret"));
    assert!(caller.data::<Token>().is_some());
}
