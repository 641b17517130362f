//! Signed requests that are changed in transit. An accepted request has the meaning of the signed one: the service gets
//! the same method, path, parameters, body, signed headers and caller.

use std::collections::BTreeSet;

use countersign::{
    ParameterPolicy, StaticKeys, Verifier,
    store::{NonceClaim, NonceStatus, NonceStore, Retention, StoreError},
};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::{
    block_on,
    by_hand::ReferenceRequest,
    kinds::{Content, Kind, Setup, contents, setups},
    seen::Received,
};
use crate::rig;

/// A store that accepts every nonce, so that one signature can be verified repeatedly.
struct AcceptEveryNonce;

impl NonceStore for AcceptEveryNonce {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        Ok(NonceStatus::New)
    }
}

/// A request in transit, as an attacker can change it.
#[derive(Clone, Debug)]
struct Wire {
    method: Vec<u8>,
    target: Vec<u8>,
    headers: Vec<[Vec<u8>; 2]>,
    body: Vec<u8>,
}

impl Wire {
    fn new(request: &Request<Vec<u8>>) -> Self {
        let headers = request.headers().iter();
        Self {
            method: request.method().as_str().into(),
            target: request.uri().to_string().into(),
            headers: headers.map(|(name, value)| [name.as_str().into(), value.as_bytes().into()]).collect(),
            body: request.body().clone(),
        }
    }

    /// The changeable parts of the request, with their names.
    fn places(&mut self) -> Vec<(String, &mut Vec<u8>)> {
        let mut places = vec![("method".to_owned(), &mut self.method), ("target".to_owned(), &mut self.target)];
        for [name, value] in &mut self.headers {
            let called = String::from_utf8_lossy(name).into_owned();
            places.push((format!("name of {called}"), name));
            places.push((called, value));
        }
        places.push(("body".to_owned(), &mut self.body));
        places
    }

    /// Returns `None` if the result is not a valid HTTP request.
    fn request(&self) -> Option<Request<Vec<u8>>> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = Method::from_bytes(&self.method).ok()?;
        *request.uri_mut() = Uri::try_from(&self.target[..]).ok()?;
        for [name, value] in &self.headers {
            let (name, value) = (HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

/// A setup, its signed request, and the request that the service gets.
struct Original {
    setup: Setup,
    verifier: Verifier<StaticKeys, AcceptEveryNonce>,
    wire: Wire,
    has_digest: bool,
    seen: Received,
}

impl Original {
    /// Returns `None` if the unchanged request is rejected.
    fn new(setup: Setup, signed: &ReferenceRequest) -> Option<Self> {
        let verifier = setup.verifier(signed).with_nonces(AcceptEveryNonce);
        let (wire, has_digest) = (Wire::new(&signed.signed()), signed.has_digest);
        let seen = verify_and_read(&setup, &verifier, wire.request().unwrap(), has_digest)?;
        Some(Self { setup, verifier, wire, has_digest, seen })
    }

    /// The request that the service gets if this changed request is accepted.
    fn verify_and_read(&self, request: Request<Vec<u8>>) -> Option<Received> {
        verify_and_read(&self.setup, &self.verifier, request, self.has_digest)
    }
}

fn verify_and_read(
    setup: &Setup,
    verifier: &Verifier<StaticKeys, AcceptEveryNonce>,
    request: Request<Vec<u8>>,
    has_digest: bool,
) -> Option<Received> {
    block_on(async {
        match rig::verify(verifier, request).await {
            Ok(verified) => Received::of(verified, setup.parameters, has_digest).await,
            Err(rejection) => {
                assert!(rejection.kind().status().is_client_error(), "{rejection}");
                None
            }
        }
    })
}

fn sample(setup: &Setup) -> Content {
    let pairs = |text: &str| super::decoded(text.as_bytes());
    // An empty parameter, which is not signed. The `Reject` policy allows none.
    let empty = if setup.parameters == ParameterPolicy::Reject { "" } else { "&c=" };
    Content {
        method: "POST",
        path: "/a/%2f;b".to_owned(),
        query: pairs(&format!("b=x+y%2Bz&a=1{empty}")),
        bytes: b"{\"a\": 1}".to_vec(),
        form: pairs(&format!("to=b b&n=1{empty}")),
        spelling: vec![0, 1, 2, 2],
        token: Some("tok_1+/=".to_owned()),
        tenant: Some("a:b"),
    }
}

/// Flips every bit of a request for each kind of body in each field location. Token locations and parameter policies
/// take turns.
///
/// An accepted request with a flipped bit has the same meaning. [`tolerated_part`] names the parts that such bits
/// belong to.
#[test]
fn changed_bits_are_rejected_or_equivalent() {
    let mut tolerated = BTreeSet::new();
    let mut rejected = 0;
    // Nine consecutive setups differ only in token location and parameter policy. One of them is tested.
    for (turn, nine) in setups().chunks(9).enumerate() {
        let setup = &nine[(turn + turn / 4) % 9];
        let original = Original::new(setup.clone(), &setup.reference_request(&sample(setup))).unwrap();
        let mut wire = original.wire.clone();
        for place in 0..wire.places().len() {
            for bit in 0..8 * wire.places()[place].1.len() {
                let flip = |wire: &mut Wire| wire.places()[place].1[bit / 8] ^= 1 << (bit % 8);
                flip(&mut wire);
                match wire.request().map(|request| original.verify_and_read(request)) {
                    Some(Some(seen)) => {
                        assert_eq!(seen, original.seen, "{setup:?}: {wire:?}");
                        flip(&mut wire);
                        tolerated.insert(tolerated_part(setup, &wire.places()[place].0, bit / 8));
                        flip(&mut wire);
                    }
                    Some(None) => rejected += 1,
                    None => {}
                }
                flip(&mut wire);
            }
        }
    }
    let expected = [
        "another cookie",
        "case of Bearer",
        "case of a header's name",
        "case or parameters of the content type",
        "content-encoding",
        "spelling of a form without a digest",
        "spelling of the query",
    ];
    assert_eq!(tolerated.into_iter().collect::<Vec<_>>(), expected);
    assert!(rejected > 30_000, "{rejected}");
}

/// The part that a bit without effect on the meaning belongs to. All other parts are signed as they are spelled, or are
/// not covered by the scheme.
fn tolerated_part(setup: &Setup, place: &str, at: usize) -> &'static str {
    match place {
        "target" => "spelling of the query",
        "body" if setup.kind == Kind::FormWithoutDigest => "spelling of a form without a digest",
        "content-type" => "case or parameters of the content type",
        // With a form, only the presence of this header is signed, unless it is one of the signed headers.
        "content-encoding" => "content-encoding",
        "authorization" if at < "Bearer".len() => "case of Bearer",
        "cookie" if at < "a=1;".len() => "another cookie",
        _ if place.starts_with("name of") => "case of a header's name",
        _ => panic!("a change of {place} was accepted"),
    }
}

/// A change in one part. The inserted texts have a meaning in HTTP or in the protocol.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, Index, &'static str),
    Remove(Index, Index, usize),
    Set(Index, Index, u8),
    Swap(Index, Index),
    Header(&'static str, &'static str),
    Drop(Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let text = select(vec![
        "&",
        "=",
        "&&",
        "a=1&",
        "&a=1",
        "&b",
        "&=b",
        "?",
        "#",
        "+",
        " ",
        "%20",
        "%2",
        "%61",
        "%00",
        "%2F",
        "/",
        "/..",
        ";",
        ",",
        "0",
        "A",
        "&sign=0",
        "&appId=demo",
        "&token=x",
        "\t",
        "; charset=x",
        "http://localhost",
    ]);
    let header = select(vec![
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("x-tenant", "b"),
        ("x-user", "b"),
        ("x-token", "b"),
        ("x-app-id", "twin"),
        ("authorization", "Bearer b"),
        ("cookie", "sid=b"),
        ("connection", "x-tenant"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("host", "localhost"),
    ]);
    let index = any::<Index>;
    let edit = prop_oneof![
        4 => (index(), index(), text).prop_map(|(place, at, text)| Edit::Insert(place, at, text)),
        2 => (index(), index(), 1..6_usize).prop_map(|(place, at, count)| Edit::Remove(place, at, count)),
        2 => (index(), index(), any::<u8>()).prop_map(|(place, at, byte)| Edit::Set(place, at, byte)),
        1 => (index(), index()).prop_map(|(one, other)| Edit::Swap(one, other)),
        2 => header.prop_map(|(name, value)| Edit::Header(name, value)),
        1 => index().prop_map(Edit::Drop),
    ];
    vec(edit, 1..4)
}

impl Edit {
    fn apply(&self, wire: &mut Wire) {
        // Half of all edits change the target.
        let place = |wire: &Wire, index: &Index| match index.index(2) {
            0 => 1,
            _ => index.index(wire.clone().places().len()),
        };
        match self {
            Self::Insert(index, at, text) => {
                let place = place(wire, index);
                let mut places = wire.places();
                let bytes = &mut *places[place].1;
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, text.bytes());
            }
            Self::Remove(index, at, count) => {
                let place = place(wire, index);
                let mut places = wire.places();
                let bytes = &mut *places[place].1;
                let at = at.index(bytes.len() + 1);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Self::Set(index, at, byte) => {
                let place = place(wire, index);
                let mut places = wire.places();
                let bytes = &mut *places[place].1;
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            Self::Swap(one, other) => {
                let (one, other) = (one.index(wire.headers.len()), other.index(wire.headers.len()));
                wire.headers.swap(one, other);
                let (name, other_name) = (wire.headers[one][0].clone(), wire.headers[other][0].clone());
                wire.headers[one][0] = other_name;
                wire.headers[other][0] = name;
            }
            Self::Header(name, value) => wire.headers.push([name.as_bytes().to_vec(), value.as_bytes().to_vec()]),
            Self::Drop(index) => drop(wire.headers.remove(index.index(wire.headers.len()))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn edited_requests_deliver_only_signed_content(
        setup in select(setups()), content in contents(), attempts in vec(edits(), 16),
    ) {
        let Some(original) = Original::new(setup.clone(), &setup.reference_request(&content)) else {
            return Ok(());
        };
        for edits in attempts {
            let mut wire = original.wire.clone();
            for edit in &edits {
                if !wire.headers.is_empty() {
                    edit.apply(&mut wire);
                }
            }
            if let Some(seen) = wire.request().and_then(|request| original.verify_and_read(request)) {
                prop_assert_eq!(&seen, &original.seen, "{:?}", wire);
            }
        }
    }
}
