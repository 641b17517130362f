//! Signed requests, changed on their way. Whatever is let in all the same means what was signed: the service sees the
//! same method, path, parameters, body, signed headers and caller.

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
    by_hand::ByHand,
    kinds::{Content, Kind, Way, contents, ways},
    seen::Seen,
};
use crate::rig;

/// What is let in need not be told from what was let in before.
struct NeverSeen;

impl NonceStore for NeverSeen {
    async fn claim(&self, _: &NonceClaim<'_>, _: Retention) -> Result<NonceStatus, StoreError> {
        Ok(NonceStatus::New)
    }
}

/// A request as somebody on the way can change it.
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

    /// Where there are bytes to change, and what they are.
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

    /// `None` if it is no request of HTTP any more.
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

/// A way, the request that is signed, and what the service sees of it.
struct Original {
    way: Way,
    verifier: Verifier<StaticKeys, NeverSeen>,
    wire: Wire,
    has_digest: bool,
    seen: Seen,
}

impl Original {
    /// `None` if it is refused as it is.
    fn new(way: Way, signed: &ByHand) -> Option<Self> {
        let verifier = way.verifier(signed).with_nonces(NeverSeen);
        let (wire, has_digest) = (Wire::new(&signed.signed()), signed.has_digest);
        let seen = see(&way, &verifier, wire.request().unwrap(), has_digest)?;
        Some(Self { way, verifier, wire, has_digest, seen })
    }

    /// What the service sees of another request, if it is let in.
    fn see(&self, request: Request<Vec<u8>>) -> Option<Seen> {
        see(&self.way, &self.verifier, request, self.has_digest)
    }
}

fn see(
    way: &Way,
    verifier: &Verifier<StaticKeys, NeverSeen>,
    request: Request<Vec<u8>>,
    has_digest: bool,
) -> Option<Seen> {
    block_on(async {
        match rig::verify(verifier, request).await {
            Ok(verified) => Seen::of(verified, way.parameters, has_digest).await,
            Err(rejection) => {
                assert!(rejection.kind().status().is_client_error(), "{rejection}");
                None
            }
        }
    })
}

fn sample(way: &Way) -> Content {
    let pairs = |text: &str| super::decoded(text.as_bytes());
    // An empty parameter, which is not signed, wherever it is not refused.
    let empty = if way.parameters == ParameterPolicy::Reject { "" } else { "&c=" };
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

/// Exhaustive: each bit, for each kind of body in each carrier; places of the token and choices of parameters take
/// turns.
///
/// A changed request that is let in is one that means the same: see [`tolerance`] for what such bits belong to.
#[test]
fn changed_bits_are_rejected_or_equivalent() {
    let mut tolerated = BTreeSet::new();
    let mut refused = 0;
    // Of 9 neighbours that differ in the place of the token and in the parameters, one.
    for (turn, nine) in ways().chunks(9).enumerate() {
        let way = &nine[(turn + turn / 4) % 9];
        let original = Original::new(way.clone(), &way.by_hand(&sample(way))).unwrap();
        let mut wire = original.wire.clone();
        for place in 0..wire.places().len() {
            for bit in 0..8 * wire.places()[place].1.len() {
                let flip = |wire: &mut Wire| wire.places()[place].1[bit / 8] ^= 1 << (bit % 8);
                flip(&mut wire);
                match wire.request().map(|request| original.see(request)) {
                    Some(Some(seen)) => {
                        assert_eq!(seen, original.seen, "{way:?}: {wire:?}");
                        flip(&mut wire);
                        tolerated.insert(tolerance(way, &wire.places()[place].0, bit / 8));
                        flip(&mut wire);
                    }
                    Some(None) => refused += 1,
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
    assert!(refused > 30_000, "{refused}");
}

/// What a bit that changes no meaning belongs to: nothing that is signed as it is spelled, and nothing that the scheme
/// does not sign and yet promises.
fn tolerance(way: &Way, place: &str, at: usize) -> &'static str {
    match place {
        "target" => "spelling of the query",
        "body" if way.kind == Kind::FormWithoutDigest => "spelling of a form without a digest",
        "content-type" => "case or parameters of the content type",
        // It is signed whether there is one with a form, and not what it says, unless the scheme has it in its list.
        "content-encoding" => "content-encoding",
        "authorization" if at < "Bearer".len() => "case of Bearer",
        "cookie" if at < "a=1;".len() => "another cookie",
        _ if place.starts_with("name of") => "case of a header's name",
        _ => panic!("a bit of {place} may change"),
    }
}

/// A change in one place. Bytes are those that mean something where they are put.
#[derive(Clone, Debug)]
enum Edit {
    Put(Index, Index, &'static str),
    Take(Index, Index, usize),
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
        4 => (index(), index(), text).prop_map(|(place, at, text)| Edit::Put(place, at, text)),
        2 => (index(), index(), 1..6_usize).prop_map(|(place, at, count)| Edit::Take(place, at, count)),
        2 => (index(), index(), any::<u8>()).prop_map(|(place, at, byte)| Edit::Set(place, at, byte)),
        1 => (index(), index()).prop_map(|(one, other)| Edit::Swap(one, other)),
        2 => header.prop_map(|(name, value)| Edit::Header(name, value)),
        1 => index().prop_map(Edit::Drop),
    ];
    vec(edit, 1..4)
}

impl Edit {
    fn apply(&self, wire: &mut Wire) {
        // Half of all changes are of the target.
        let place = |wire: &Wire, index: &Index| match index.index(2) {
            0 => 1,
            _ => index.index(wire.clone().places().len()),
        };
        match self {
            Self::Put(index, at, text) => {
                let place = place(wire, index);
                let mut places = wire.places();
                let bytes = &mut *places[place].1;
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, text.bytes());
            }
            Self::Take(index, at, count) => {
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
        way in select(ways()), content in contents(), attempts in vec(edits(), 16),
    ) {
        let Some(original) = Original::new(way.clone(), &way.by_hand(&content)) else {
            return Ok(());
        };
        for edits in attempts {
            let mut wire = original.wire.clone();
            for edit in &edits {
                if !wire.headers.is_empty() {
                    edit.apply(&mut wire);
                }
            }
            if let Some(seen) = wire.request().and_then(|request| original.see(request)) {
                prop_assert_eq!(&seen, &original.seen, "{:?}", wire);
            }
        }
    }
}
