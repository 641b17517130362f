//! Share links, against the reference implementation of PROTOCOL.md.
//!
//! `Signer` presigns a link. The input then changes its URL, its method and its headers. The verifier must open it, or reject
//! it at the same step as the reference implementation, and deliver the query that the reference names. It takes exactly the
//! requests for links that the reference takes for links. A link is never accepted as a request, and a signed request never as
//! a link, wherever their fields are put.

#![no_main]

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use arbitrary::Arbitrary;
use bytes::Bytes;
use countersign::{
    Caller, FieldLocation, LinkScheme, ParameterPolicy, Payload, Scheme, StaticKeys, Verifier,
    clock::ManualClock,
    server::Links,
    store::{MemoryNonceStore, MemoryTokenStore},
    token::{IssuedGrant, NewToken, Tokens},
};
use countersign_fuzz::{
    broken::Nonces,
    config::Config,
    reference::links::{Opening, Policy, Settings, Verdict, judge},
    rig::{self, APPS, Delivered, NOW},
    target::target,
};
use futures_util::FutureExt;
use http::{Method, Request, Uri, request::Parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: Input| {
    input.run();
});

#[derive(Arbitrary, Debug)]
struct Input {
    config: Config,
    has_audience: bool,
    leaves_out: bool,
    is_persistent: bool,
    is_once: bool,
    grant: u8,
    path: Vec<u8>,
    query: Vec<u8>,
    lifetime: u32,
    /// The age of the link in seconds.
    age: i16,
    edits: Vec<Edit>,
    method: u8,
    header: u8,
}

/// A change of the path and query of a link.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Edit {
    Replace(u16, u8),
    Insert(u16, u8),
    Remove(u16),
    Append(u8),
    Drop(u8),
    Double(u8),
    Swap(u8, u8),
}

const PIECES: [&str; 20] = [
    "utm_source=x",
    "utm%5Fsource=%zz",
    "utm_source",
    "expires=3600",
    "%65xpires=60",
    "expires=",
    "grant=x",
    "grant",
    "token=t",
    "sign=0000000000000000000000000000000000000000000000000000000000000000",
    "amp;sign=0",
    "amp%3Btimestamp=1",
    "amp;a=1",
    "nonce=nonce-1",
    "appId=other",
    "timestamp=1700000000",
    "=",
    "a=",
    "%zz=1",
    "a=%2b+b",
];

const LEFT_OUT: [&str; 2] = ["utm_source", "ref"];

/// Grants of one token store.
struct Grants {
    tokens: Tokens,
    live: IssuedGrant,
    ended: IssuedGrant,
    of_another_app: IssuedGrant,
}

static GRANTS: LazyLock<Grants> = LazyLock::new(|| {
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(ManualClock::at(NOW));
    let grant = |app: &str| {
        let new = NewToken::for_user("u-1".parse().unwrap());
        let login = tokens.issue_for(&app.parse().unwrap(), new).now_or_never().unwrap().unwrap();
        tokens.grant(login.session(), Duration::from_secs(1_000_000)).now_or_never().unwrap().unwrap()
    };
    let (live, ended, of_another_app) = (grant("demo"), grant("demo"), grant("other"));
    tokens.end_grant(ended.grant().owner(), ended.grant().id()).now_or_never().unwrap().unwrap();
    Grants { live, ended, of_another_app, tokens }
});

impl Input {
    fn run(&self) {
        let Some(link) = self.presigned() else { return };
        let is_fresh = self.age >= -300 && i64::from(self.age) < i64::from(self.lifetime());
        let is_granted = self.grant % 4 < 2;
        let is_opened = self.compare(&link, &Method::GET, None);
        assert_eq!(is_opened, is_fresh && is_granted && (!self.is_once || self.is_persistent), "{link}");
        let headers = [None, Some("x-sign"), Some("x-app-id"), Some("sec-purpose"), Some("x-content-sha256")];
        let header = headers[usize::from(self.header) % headers.len()];
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];
        let method = &methods[usize::from(self.method) % methods.len()];
        if let Some(changed) = self.changed(&link) {
            self.compare(&changed, method, header);
        }
        self.link_is_no_request(&link);
        self.request_is_no_link();
    }

    fn scheme(&self) -> Scheme {
        let mut links = LinkScheme::new();
        if self.has_audience {
            links = links.with_audience("files").unwrap();
        }
        if self.leaves_out {
            links = links.without(LEFT_OUT);
        }
        self.config.scheme().with_links(links).unwrap()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime % 604_800 + 1
    }

    fn grant(&self) -> Option<&'static IssuedGrant> {
        [None, Some(&GRANTS.live), Some(&GRANTS.ended), Some(&GRANTS.of_another_app)][usize::from(self.grant % 4)]
    }

    fn signed_at(&self) -> u64 {
        NOW.saturating_add_signed(-i64::from(self.age))
    }

    fn presigned(&self) -> Option<Uri> {
        let query = (!self.query.is_empty()).then_some(&*self.query);
        let uri = target("", &self.path, query)?;
        let signer = rig::signer().with_scheme(self.scheme());
        let mut presign = signer.presign(&uri, Duration::from_secs(self.lifetime().into()));
        if let Some(grant) = self.grant() {
            presign = presign.with_grant(grant.token(), u64::MAX);
        }
        let nonce = self.is_once.then(|| "nonce-1".parse().unwrap());
        Some(presign.sign_at(self.signed_at().try_into().unwrap(), nonce).ok()?.uri().clone())
    }

    fn changed(&self, link: &Uri) -> Option<Uri> {
        let mut text = link.to_string().into_bytes();
        for edit in self.edits.iter().take(8) {
            let at = |at: u16| usize::from(at) % text.len().max(1);
            match *edit {
                Edit::Replace(i, byte) if !text.is_empty() => {
                    let i = at(i);
                    text[i] = byte;
                }
                Edit::Insert(i, byte) => text.insert(at(i), byte),
                Edit::Remove(i) if text.len() > 1 => drop(text.remove(at(i))),
                Edit::Append(piece) => {
                    text.extend(b"&");
                    text.extend(PIECES[usize::from(piece) % PIECES.len()].as_bytes());
                }
                Edit::Drop(i) | Edit::Double(i) | Edit::Swap(i, _) => {
                    let question = text.iter().position(|&b| b == b'?')?;
                    let mut pieces: Vec<Vec<u8>> =
                        text[question + 1..].split(|&b| b == b'&').map(<[u8]>::to_vec).collect();
                    let index = usize::from(i) % pieces.len();
                    match *edit {
                        Edit::Drop(_) => drop(pieces.remove(index)),
                        Edit::Swap(_, j) => {
                            let other = usize::from(j) % pieces.len();
                            pieces.swap(index, other);
                        }
                        _ => pieces.push(pieces[index].clone()),
                    }
                    text.truncate(question + 1);
                    text.extend(pieces.join(&b'&'));
                }
                _ => {}
            }
        }
        Uri::try_from(text).ok().filter(|uri| uri.path().starts_with('/'))
    }

    fn verifier(&self, takes_links: bool) -> Verifier<StaticKeys, Nonces> {
        let nonces = Nonces {
            store: Arc::new(MemoryNonceStore::new()),
            faults: Arc::new(Mutex::default()),
            is_persistent: self.is_persistent,
        };
        let clock = ManualClock::at(NOW - 3600);
        let verifier = Verifier::new(rig::keys()).with_nonces(nonces).with_clock(clock.clone());
        clock.advance(Duration::from_secs(3600));
        let verifier = verifier.with_scheme(self.scheme()).with_parameters(self.config.parameters());
        let verifier = verifier.with_tokens(GRANTS.tokens.clone());
        if takes_links { verifier.with_links(Links::new()) } else { verifier }
    }

    /// Compares the verifier with the reference implementation. Returns whether the link was opened.
    fn compare(&self, uri: &Uri, method: &Method, header: Option<&str>) -> bool {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(name) = header {
            let value = if name == "sec-purpose" { "prefetch;anonymous-client-ip" } else { "demo" };
            request = request.header(name, value);
        }
        let request = request.body(Bytes::new()).unwrap();
        let settings = Settings {
            audience: match (self.has_audience, self.config.audience) {
                (true, _) => "files",
                (false, true) => "api",
                (false, false) => "",
            },
            expires: "expires",
            grant: "grant",
            without: if self.leaves_out { &LEFT_OUT } else { &[] },
            takes_query: self.config.field_location() != FieldLocation::Headers,
            is_persistent: self.is_persistent,
            policy: match self.config.parameters() {
                ParameterPolicy::Canonicalize => Policy::Signed,
                ParameterPolicy::Reject => Policy::RefuseEmpty,
                _ => Policy::Stripped,
            },
            keys: &APPS,
            grants: &[(GRANTS.live.token().expose(), "demo"), (GRANTS.of_another_app.token().expose(), "other")],
        };
        let opening = Opening {
            method: method.as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default().as_bytes(),
            has_field_header: header.is_some_and(|name| ["x-sign", "x-app-id"].contains(&name)),
            is_prefetch: header == Some("sec-purpose"),
            now: NOW,
        };
        match (rig::verify(&self.verifier(true), &request), judge(&settings, &opening)) {
            (Ok(delivered), Verdict::Opened { query, app, ends }) => {
                let caller: Caller = delivered.extensions().get::<Caller>().unwrap().clone();
                let link = caller.link().expect("a link");
                assert_eq!((caller.app_id().as_str().as_bytes(), link.expires_at()), (&*app, ends));
                assert_eq!(Delivered::of(delivered).query.unwrap_or_default(), query);
                true
            }
            (Err(rejection), Verdict::Rejected(expected)) => {
                let found = (rejection.kind().code(), rejection.field().unwrap_or_default().to_owned());
                let is_expected =
                    expected.iter().any(|(code, name)| *code == found.0 && (name.is_empty() || *name == found.1));
                assert!(is_expected, "{found:?}, expected {expected:?}, {uri}");
                assert!(rejection.link().is_some(), "{uri}");
                false
            }
            (Err(rejection), Verdict::NoLink) => {
                assert!(rejection.link().is_none(), "{rejection:?}, {uri}");
                false
            }
            (Ok(_), verdict) => panic!("accepted, expected {verdict:?}, {uri}"),
            (Err(rejection), verdict) => panic!("{rejection:?}, expected {verdict:?}, {uri}"),
        }
    }

    /// Puts the fields of a link where those of a request are.
    fn link_is_no_request(&self, link: &Uri) {
        let fields: Vec<(&str, &str)> =
            link.query().unwrap().split('&').filter_map(|piece| piece.split_once('=')).collect();
        let value = |name: &str| fields.iter().rfind(|(other, _)| *other == name).map_or("nonce-1", |(_, value)| value);
        for left_out in [&[][..], &["expires"], &["expires", "appId", "timestamp", "nonce", "sign"]] {
            let kept: Vec<String> = link
                .query()
                .unwrap()
                .split('&')
                .filter(|piece| !left_out.contains(&piece.split('=').next().unwrap()))
                .map(str::to_owned)
                .collect();
            let uri: Uri = format!("{}?{}", link.path(), kept.join("&")).parse().unwrap();
            let bare = Request::get(&uri).body(Bytes::new()).unwrap();
            let with_headers = Request::get(&uri)
                .header("x-app-id", value("appId"))
                .header("x-timestamp", value("timestamp"))
                .header("x-nonce", value("nonce"))
                .header("x-sign", value("sign"))
                .body(Bytes::new())
                .unwrap();
            for takes_links in [false, true] {
                for request in [&bare, &with_headers] {
                    let is_whole = left_out.is_empty() && takes_links && !request.headers().contains_key("x-sign");
                    let verified = rig::verify(&self.verifier(takes_links), request);
                    assert!(verified.is_err() || is_whole, "a link was accepted as a request: {request:?}");
                }
            }
        }
    }

    /// Puts the fields of a signed request where those of a link are.
    fn request_is_no_link(&self) {
        let query = (!self.query.is_empty()).then_some(&*self.query);
        let Some(uri) = target("http://localhost", &self.path, query) else { return };
        let signer = rig::signer().with_scheme(self.scheme());
        let (mut parts, ()) = Request::get(uri).header("host", "localhost").body(()).unwrap().into_parts();
        let nonce = "nonce-2".parse().unwrap();
        if signer.sign_at(&mut parts, Payload::Bytes(b""), rig::now(), nonce).is_err() {
            return;
        }
        for with_nonce in [true, false] {
            let request = Request::get(as_link(&parts, with_nonce)).body(Bytes::new()).unwrap();
            match rig::verify(&self.verifier(true), &request) {
                Err(_) => {}
                Ok(_) => panic!("a request was accepted as a link: {request:?}"),
            }
        }
    }
}

/// The URL of a request with its fields, and with a lifetime.
fn as_link(parts: &Parts, with_nonce: bool) -> Uri {
    let fields = [("appId", "x-app-id"), ("timestamp", "x-timestamp"), ("nonce", "x-nonce"), ("sign", "x-sign")];
    let mut query: Vec<String> = parts.uri.query().unwrap_or_default().split('&').map(str::to_owned).collect();
    for (name, header) in fields {
        if let Some(value) = parts.headers.get(header) {
            query.push(format!("{name}={}", value.to_str().unwrap()));
        }
    }
    query.retain(|piece| !piece.is_empty() && (with_nonce || !piece.starts_with("nonce=")));
    query.push("expires=3600".to_owned());
    format!("{}?{}", parts.uri.path(), query.join("&")).parse().unwrap()
}
