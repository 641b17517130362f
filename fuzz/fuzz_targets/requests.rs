//! Arbitrary requests and signed requests through the verifier.
//!
//! Properties of every request, for every field location, token location and parameter policy:
//!
//! 1. Nothing panics. A request without a signature, or with a signature by another key, is never accepted.
//! 2. A request signed by the signer is accepted once, and is rejected with `replayed_nonce` afterwards.
//! 3. The service gets the method, path, body and headers of the signed request as sent, without override headers, and
//!    the query without its fields and empty parameters.
//! 4. A signed request with one part replaced is accepted only if the service gets the same content as before.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use countersign::{FieldLocation, ParameterPolicy, Payload, RejectionKind, Signer, StaticKeys, Verifier};
use countersign_fuzz::{
    config::Config,
    reference::{content_type, parameters, trim},
    rig::{self, Delivered, KEY},
    target::{tame, target},
};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header, uri::PathAndQuery};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    config: Config,
    unknown_app: bool,
    request: Draft<'a>,
    replacement: Replacement<'a>,
}

#[derive(Arbitrary, Debug)]
struct Draft<'a> {
    method: Verb<'a>,
    target: Target<'a>,
    content_type: ContentType<'a>,
    headers: Vec<(Name<'a>, &'a [u8])>,
    body: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Verb<'a> {
    Known(u8),
    Any(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Target<'a> {
    Origin { path: &'a [u8], query: Option<&'a [u8]> },
    Absolute { path: &'a [u8], query: Option<&'a [u8]> },
    Any(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum ContentType<'a> {
    Known(u8),
    Any(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Name<'a> {
    Known(u8),
    Any(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Replacement<'a> {
    Method(Verb<'a>),
    Path(&'a [u8]),
    Query(Option<&'a [u8]>),
    ContentType(ContentType<'a>),
    Header(Name<'a>, &'a [u8]),
    Body(&'a [u8]),
}

fuzz_target!(|input: Input| {
    // `None` if HTTP has no such request, or if the signer does not sign it.
    let _ = run(&input);
});

fn run(input: &Input<'_>) -> Option<()> {
    let scheme = input.config.scheme();
    let verifier = rig::verifier().with_scheme(scheme.clone()).with_parameters(input.config.parameters());
    let request = input.request.build()?;
    assert!(rig::verify(&verifier, &request).is_err(), "accepted without a signer");

    let impostor = if input.unknown_app { ("nobody", KEY) } else { ("demo", "a key that is not the app's") };
    if let Some(forged) = sign(&rig::signer_of(impostor.0, impostor.1).with_scheme(scheme.clone()), &request, "nonce-1")
    {
        let rejection = rig::verify(&verifier, &forged).expect_err("accepted with another key");
        assert!(
            rejection.kind() == RejectionKind::InvalidSignature || may_be_malformed(&input.config, &forged),
            "with another key: {rejection:?}"
        );
    }

    let signer = rig::signer().with_scheme(scheme);
    let signed = sign(&signer, &request, "nonce-1")?;
    accepted_once(&input.config, &verifier, &signed);

    let signed = sign(&signer, &signed, "nonce-2").expect("a signed request can be signed again");
    let replaced = input.replacement.apply(&signed)?;
    if let Ok(delivered) = rig::verify(&verifier, &replaced) {
        let (seen, expected) = (Delivered::of(delivered), expected(&input.config, &signed));
        let [seen, expected] = [seen, expected].map(|delivered| as_signed(&input.config, delivered));
        assert_eq!(seen, expected, "accepted as another request");
    }
    Some(())
}

/// Checks properties 2 and 3.
fn accepted_once(config: &Config, verifier: &Verifier<StaticKeys>, signed: &Request<Bytes>) {
    match rig::verify(verifier, signed) {
        Ok(delivered) => assert_eq!(Delivered::of(delivered), expected(config, signed)),
        Err(rejection) => {
            assert!(may_be_malformed(config, signed), "signed, but rejected: {rejection:?}");
            assert_eq!(rejection.kind(), RejectionKind::MalformedParameters);
            return;
        }
    }
    let replayed = rig::verify(verifier, signed).expect_err("accepted twice");
    assert_eq!(replayed.kind(), RejectionKind::ReplayedNonce);
}

/// Whether the policy rejects the request for an empty parameter, which signers accept.
fn may_be_malformed(config: &Config, signed: &Request<Bytes>) -> bool {
    let query = signed.uri().query().unwrap_or_default().as_bytes();
    // A form contains no fields, even if its parameters have their names.
    let form_had_empty = || parameters::read(signed.body(), &[], usize::MAX).expect("it was signed").had_empty;
    config.parameters() == ParameterPolicy::Reject
        && (read(config, query).had_empty || is_form(signed) && form_had_empty())
}

fn sign(signer: &Signer, request: &Request<Bytes>, nonce: &str) -> Option<Request<Bytes>> {
    let (mut parts, body) = request.clone().into_parts();
    // Clients set the length when they send the body.
    parts.headers.remove(header::CONTENT_LENGTH);
    signer.sign_at(&mut parts, Payload::Bytes(&body), rig::now(), nonce.parse().unwrap()).ok()?;
    if parts.headers.contains_key(header::HOST) {
        parts.uri = parts.uri.path_and_query().cloned()?.into();
    }
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    Some(Request::from_parts(parts, body))
}

fn expected(config: &Config, signed: &Request<Bytes>) -> Delivered {
    let (parts, body) = signed.clone().into_parts();
    let query = read(config, parts.uri.query().unwrap_or_default().as_bytes());
    let query = if config.parameters() == ParameterPolicy::Canonicalize { query.line } else { query.stripped };
    let mut headers = parts.headers;
    for name in ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"] {
        headers.remove(name);
    }
    Delivered {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Some(query).filter(|query| !query.is_empty()),
        headers,
        body: body.to_vec(),
    }
}

/// The signed content in a normalized form, without the order of names, the spelling of escapes, and other headers.
fn as_signed(config: &Config, delivered: Delivered) -> impl PartialEq + std::fmt::Debug {
    let query = delivered.query.map(|query| parameters::read(&query, &[], usize::MAX).expect("it was signed").line);
    let names = ["content-type", "x-extra", "host"].into_iter().take(if config.signed_headers { 3 } else { 1 });
    let headers: Vec<_> =
        names.map(|name| delivered.headers.get(name).map(|value| signed_value(name, value))).collect();
    // A CONNECT with a path is signed as the GET that proxies translate it to.
    let method = if delivered.method == Method::CONNECT { Method::GET } else { delivered.method };
    (method, delivered.path, query, headers, delivered.body)
}

fn signed_value(name: &str, value: &HeaderValue) -> Vec<u8> {
    match name {
        "content-type" => content_type::line(value.as_bytes()).expect("it was signed"),
        _ => trim(value.as_bytes()).to_vec(),
    }
}

fn read(config: &Config, raw: &[u8]) -> parameters::Parameters {
    let fields: &[&str] = if config.field_location() == FieldLocation::Headers { &[] } else { &parameters::FIELDS };
    parameters::read(raw, fields, usize::MAX).expect("it was signed")
}

fn is_form(request: &Request<Bytes>) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    content_type::line(value).is_some_and(|line| line == b"application/x-www-form-urlencoded")
        && !request.headers().contains_key(header::CONTENT_ENCODING)
}

impl Draft<'_> {
    /// Returns `None` if HTTP has no such request.
    fn build(&self) -> Option<Request<Bytes>> {
        let mut request = Request::new(Bytes::copy_from_slice(self.body));
        *request.method_mut() = self.method.build()?;
        // HTTP/2 permits a CONNECT with a path.
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = match self.target {
            Target::Origin { path, query } => target("", path, query)?,
            Target::Absolute { path, query } => target("http://example.com", path, query)?,
            Target::Any(target) => Uri::try_from(target).ok()?,
        };
        if let Some(value) = self.content_type.build() {
            request.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        for (name, value) in &self.headers {
            request.headers_mut().append(name.build()?, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request)
    }
}

impl Replacement<'_> {
    fn apply(&self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        let mut request = request.clone();
        let uri = request.uri();
        match self {
            Self::Method(verb) => *request.method_mut() = verb.build()?,
            Self::Path(path) => {
                let target = target("", path, uri.query().map(str::as_bytes))?;
                *request.uri_mut() = with_target(uri, target.into_parts().path_and_query?)?;
            }
            Self::Query(query) => {
                // Keep the fields at the end of the query.
                let old = uri.query().unwrap_or_default();
                let fields = old.rfind("appId=").map(|start| &old.as_bytes()[start..]);
                let parts: Vec<&[u8]> = query.iter().copied().chain(fields).collect();
                let query = (!parts.is_empty()).then(|| tame(&parts.join(&b'&')));
                let path = [uri.path().as_bytes(), query.as_ref().map_or(b"", |_| b"?"), &query.unwrap_or_default()];
                *request.uri_mut() = with_target(uri, PathAndQuery::try_from(path.concat()).ok()?)?;
            }
            Self::ContentType(content_type) => {
                match content_type.build() {
                    Some(value) => request.headers_mut().insert(header::CONTENT_TYPE, value),
                    None => request.headers_mut().remove(header::CONTENT_TYPE),
                };
            }
            Self::Header(name, value) => {
                request.headers_mut().insert(name.build()?, HeaderValue::from_bytes(value).ok()?);
            }
            Self::Body(body) => {
                *request.body_mut() = Bytes::copy_from_slice(body);
                request.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            }
        }
        Some(request)
    }
}

fn with_target(uri: &Uri, target: PathAndQuery) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).ok()
}

impl Verb<'_> {
    fn build(&self) -> Option<Method> {
        let all = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT];
        match self {
            Self::Known(index) => all.get(usize::from(*index) % all.len()).cloned(),
            Self::Any(name) => Method::from_bytes(name).ok(),
        }
    }
}

impl ContentType<'_> {
    /// Returns `None` for no content type.
    fn build(&self) -> Option<HeaderValue> {
        let all = [
            "application/x-www-form-urlencoded",
            "application/json",
            "Application/X-WWW-Form-Urlencoded; charset=utf-8",
            "multipart/form-data; boundary=\"a b\"",
        ];
        match self {
            Self::Known(index) => all.get(usize::from(index % 6)).map(|value| HeaderValue::from_static(value)),
            Self::Any(value) => HeaderValue::from_bytes(value).ok(),
        }
    }
}

impl Name<'_> {
    fn build(&self) -> Option<HeaderName> {
        const KNOWN: [&str; 20] = [
            "x-app-id",
            "x-timestamp",
            "x-nonce",
            "x-token",
            "x-sign",
            "x-content-sha256",
            "authorization",
            "cookie",
            "host",
            "content-type",
            "content-length",
            "content-encoding",
            "connection",
            "x-extra",
            "transfer-encoding",
            "x-http-method-override",
            "x-original-url",
            "expect",
            "te",
            "trailer",
        ];
        match self {
            Self::Known(index) => Some(HeaderName::from_static(KNOWN[usize::from(*index) % KNOWN.len()])),
            Self::Any(name) => HeaderName::from_bytes(name).ok(),
        }
    }
}
