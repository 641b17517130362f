//! Traits of the public types. Users rely on them to build stacks.

use std::fmt::Debug;

use bytes::Bytes;
use countersign::{
    AppId, BodyDigest, BodyHasher, Caller, Key, KeyName, KeyRing, Limits, Nonce, Payload, Rejection, RejectionKind,
    Scheme, Secret, SendError, SignError, SignLayer, Signer, StaticKeys, Timestamp, Token, Verifier, VerifyLayer,
    client::{self, Sign},
    danger::{ReportOnly, ReportOnlyLayer},
    server::{
        BodyError, Decision, GrpcRejections, Outcome, ProblemJson, RequestBody, ResponseBody, ResponseFuture,
        ServiceBody, UnverifiedBody, Verify,
    },
    store::{
        CachedKeys, DynKeyStore, DynNonceStore, FileKeys, KeyFn, LookupError, MemoryNonceStore, StoreError,
        file::FileKeysError,
    },
};
use http::{Request, Response};
use http_body_util::Full;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use tower::{
    Layer, Service, ServiceBuilder,
    layer::util::{Identity, Stack},
    util::BoxCloneSyncService,
};

/// Stores without `Clone` and `Debug`. The types around them implement both.
struct Keys;
struct Nonces;

assert_impl_all!(Verifier<Keys, Nonces>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(VerifyLayer<Keys, Nonces>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(Verify<(), Keys, Nonces>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(ReportOnlyLayer<Keys, Nonces>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(ReportOnly<(), Keys, Nonces>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(SignLayer: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(Sign<()>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(Signer: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(Caller: Clone, Debug, Send, Sync, Unpin);

assert_impl_all!(Outcome<'static>: Debug, Send, Sync, Unpin);
assert_impl_all!(Decision<'static>: Copy, Debug, Send, Sync, Unpin);

assert_impl_all!(ResponseFuture<(), ()>: Future, Debug, Send, Unpin);
assert_impl_all!(client::ResponseFuture<()>: Future, Debug, Send, Unpin);

assert_impl_all!(ServiceBody: http_body::Body<Data = Bytes, Error = BodyError>, RequestBody, Debug, Default, Send, Unpin);
assert_impl_all!(UnverifiedBody: http_body::Body<Data = Bytes>, RequestBody, Debug, Send, Unpin);
assert_impl_all!(axum::body::Body: RequestBody);
assert_impl_all!(hyper::body::Incoming: RequestBody);
assert_impl_all!(ResponseBody<Full<Bytes>>: http_body::Body<Data = Bytes>, Debug, Default, Send, Sync, Unpin);
// A body stream need not be shared between threads.
assert_not_impl_any!(ServiceBody: Sync);

assert_impl_all!(Rejection: std::error::Error, Send, Sync, Unpin);
assert_impl_all!(BodyError: std::error::Error, Clone, Send, Sync, Unpin);
assert_impl_all!(SignError: std::error::Error, Send, Sync, Unpin);
assert_impl_all!(SendError: std::error::Error, Send, Sync, Unpin);
assert_impl_all!(StoreError: std::error::Error, Send, Sync, Unpin);
assert_impl_all!(LookupError: std::error::Error, Clone, Send, Sync, Unpin);

assert_impl_all!(Scheme: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(Limits: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(Payload<'static>: Copy, Debug, Send, Sync, Unpin);
assert_impl_all!(RejectionKind: Copy, Debug, Eq, std::hash::Hash, Send, Sync, Unpin);
assert_impl_all!(AppId: Clone, Debug, Eq, std::hash::Hash, Send, Sync, Unpin);
assert_impl_all!(Nonce: Clone, Debug, Eq, std::hash::Hash, Send, Sync, Unpin);
assert_impl_all!(Timestamp: Copy, Debug, Ord, std::hash::Hash, Send, Sync, Unpin);
assert_impl_all!(BodyDigest: Copy, Debug, Eq, std::hash::Hash, Send, Sync, Unpin);
assert_impl_all!(BodyHasher: Clone, Debug, Default, std::io::Write, Send, Sync, Unpin);
assert_impl_all!(MemoryNonceStore: Debug, Send, Sync, Unpin);
assert_impl_all!(KeyName: Clone, Debug, Eq, std::hash::Hash, Send, Sync, Unpin);
assert_impl_all!(FileKeys: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(FileKeysError: Clone, Eq, std::error::Error, Send, Sync, Unpin);
assert_impl_all!(StaticKeys: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(CachedKeys<Keys>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(KeyFn<fn()>: Clone, Debug, Send, Sync, Unpin);
assert_impl_all!(ProblemJson: Clone, Debug, Default, Send, Sync, Unpin);
assert_impl_all!(GrpcRejections: Clone, Debug, Default, Send, Sync, Unpin);

// Secrets have no byte-by-byte comparison, and cannot become keys of a hash table by accident.
assert_impl_all!(Secret: Debug, Send, Sync, Unpin);
assert_not_impl_any!(Secret: PartialEq, std::hash::Hash, std::fmt::Display);
assert_not_impl_any!(Key: PartialEq, std::hash::Hash, std::fmt::Display);
assert_not_impl_any!(KeyRing: PartialEq, std::hash::Hash, std::fmt::Display);
assert_not_impl_any!(Token: PartialEq, std::hash::Hash, std::fmt::Display);

type Renderer = fn(&Rejection) -> Response<Bytes>;

/// Layers and services that a user can store in struct fields, for any stores.
struct Stacks {
    fixed: VerifyLayer<StaticKeys>,
    chosen: VerifyLayer<Box<dyn DynKeyStore>, Box<dyn DynNonceStore>, Renderer>,
    built: ServiceBuilder<Stack<VerifyLayer<StaticKeys>, Identity>>,
    erased: BoxCloneSyncService<Request<UnverifiedBody>, Response<ResponseBody<Full<Bytes>>>, std::convert::Infallible>,
}

#[test]
fn app_ids_and_timestamps_convert_to_text() {
    let id: AppId = "demo".parse().unwrap();
    let text: &str = id.as_ref();
    assert_eq!((text, id.as_str()), ("demo", "demo"));
    assert_eq!(Timestamp::try_from(1_700_000_000).unwrap().to_string(), "1700000000");
}

#[tokio::test]
async fn layers_and_services_can_be_named_and_erased() {
    let service = tower::service_fn(async |_: Request<ServiceBody>| Ok(Response::new(Full::default())));
    let keys = crate::rig::keys;
    let mut stacks = Stacks {
        fixed: VerifyLayer::new(keys()),
        chosen: Verifier::new(Box::new(keys()) as Box<dyn DynKeyStore>)
            .with_nonces(Box::new(MemoryNonceStore::new()) as Box<dyn DynNonceStore>)
            .into_layer()
            .with_renderer(Rejection::to_response),
        built: ServiceBuilder::new().layer(VerifyLayer::new(keys())),
        erased: BoxCloneSyncService::new(VerifyLayer::new(keys()).layer(service)),
    };
    let unsigned = || Request::new(UnverifiedBody::new(Full::<Bytes>::default()));
    let statuses = [
        stacks.erased.call(unsigned()).await.unwrap().status(),
        stacks.fixed.layer(service).call(unsigned()).await.unwrap().status(),
        stacks.chosen.layer(service).call(unsigned()).await.unwrap().status(),
        stacks.built.service(service).call(unsigned()).await.unwrap().status(),
    ];
    assert_eq!(statuses, [401; 4].map(|status| http::StatusCode::from_u16(status).unwrap()));
}
