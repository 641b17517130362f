//! Queries and forms, against the reference implementation of PROTOCOL.md.
//!
//! The reference implementation signs the request, so the verifier accepts it only if both compute the same lines. The
//! reference also determines the permitted codes, and the query and body for the service. The verifier must reject at
//! the same step, or deliver exactly these. Finally, `Signer` must compute the same lines, or also fail.
//!
//! An input is eight bytes of settings and four texts separated by `FF`: query and form as signed, then as sent.

#![no_main]

use bytes::Bytes;
use countersign::{FieldLocation, Limits, ParameterPolicy, Payload, Scheme};
use countersign_fuzz::{
    reference::{
        parameters::{self, FIELDS, field},
        string::{StringToSign, sha256},
    },
    rig::{self, Delivered, KEY, NOW},
    target::{tame, target},
};
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

const APP: &str = "demo";
const TOKEN: &str = "a-token";
const NONCE: &str = "nonce-1";
const FORM: &str = "application/x-www-form-urlencoded";

fuzz_target!(|data: &[u8]| {
    if let Some(input) = Input::read(data) {
        input.run();
    }
});

#[derive(Debug)]
struct Input<'a> {
    carrier: FieldLocation,
    policy: ParameterPolicy,
    body: Body,
    limits: Limits,
    signed: Sent<'a>,
    sent: Sent<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    FormWithDigest,
    FormWithout,
    /// The request has another content type.
    Other,
    /// A form with a Content-Encoding is an opaque body.
    Encoded,
}

/// The query and body of a request.
#[derive(Clone, Debug)]
struct Sent<'a> {
    query: Option<Vec<u8>>,
    body: &'a [u8],
}

/// The query line, and the form line if the request is a form.
struct Lines {
    query: parameters::Parameters,
    form: Option<parameters::Parameters>,
}

impl Lines {
    /// Lines 5 and 6.
    fn both(&self) -> (Vec<u8>, Vec<u8>) {
        (self.query.line.clone(), self.form.as_ref().map(|form| form.line.clone()).unwrap_or_default())
    }
}

impl<'a> Input<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        let (settings, texts) = data.split_first_chunk::<8>()?;
        let mut texts = texts.split(|&b| b == 0xff);
        let bodies = [Body::FormWithDigest, Body::FormWithout, Body::Other, Body::Encoded];
        // A small limit, or the protocol's limit.
        let limit = |byte: u8, default: usize| if byte < 128 { usize::from(byte) } else { default };
        let limits = Limits::new()
            .with_parameters(limit(settings[4], 256))
            .with_query(limit(settings[5], 16 * 1024))
            .with_form(limit(settings[6], 256 * 1024))
            .with_body(limit(settings[7], 2 * 1024 * 1024) as u64);
        let mut sent = |or: &Sent<'a>| Sent {
            query: texts.next().map_or(or.query.clone(), |query| Some(tame(query))),
            body: texts.next().unwrap_or(or.body),
        };
        let signed = sent(&Sent { query: None, body: b"" });
        Some(Self {
            carrier: [FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either]
                [usize::from(settings[0] % 3)],
            policy: [ParameterPolicy::Strip, ParameterPolicy::Canonicalize, ParameterPolicy::Reject]
                [usize::from(settings[1] % 3)],
            body: bodies[usize::from(settings[2] % 4)],
            limits,
            sent: sent(&signed),
            signed,
        })
    }

    fn run(&self) {
        let scheme = Scheme::new().with_field_location(self.carrier);
        let Some((request, digest_header)) = self.request() else { return };
        let expected = self.expected(request.uri().query(), &digest_header);
        let verifier =
            rig::verifier().with_scheme(scheme.clone()).with_limits(self.limits).with_parameters(self.policy);
        match (rig::verify(&verifier, &request), expected) {
            (Ok(delivered), Ok((query, body))) => {
                let seen = Delivered::of(delivered);
                assert_eq!(seen.query.unwrap_or_default(), query);
                assert_eq!(seen.headers["content-length"], body.len().to_string());
                assert_eq!(seen.body, body);
            }
            (Err(rejection), Err(expected)) => {
                assert!(expected.contains(&rejection.kind().code()), "{rejection:?}, expected {expected:?}")
            }
            (Ok(_), Err(expected)) => panic!("accepted, expected {expected:?}"),
            (Err(rejection), Ok(_)) => panic!("rejected, expected to be accepted: {rejection:?}"),
        }
        self.compare_signer(scheme, &self.sent);
    }

    /// The request as sent, with the signature over the signed texts.
    fn request(&self) -> Option<(Request<Bytes>, String)> {
        // Texts that cannot be signed are replaced by empty lines.
        let (query_line, form_line) =
            self.lines_of_at_most(usize::MAX, &self.signed).map(|lines| lines.both()).unwrap_or_default();
        let is_bound = self.body != Body::FormWithout && !(self.body == Body::Other && self.signed.body.is_empty());
        let digest = if is_bound { sha256(self.signed.body) } else { String::new() };
        let timestamp = NOW.to_string();
        let sign = StringToSign {
            method: "POST",
            audience: "",
            path: "/p",
            query: &query_line,
            form: &form_line,
            content_type: if self.body == Body::Other { b"text/plain" } else { FORM.as_bytes() },
            digest: digest.as_bytes(),
            headers: &[],
            app: APP.as_bytes(),
            token: TOKEN.as_bytes(),
            timestamp: timestamp.as_bytes(),
            nonce: NONCE.as_bytes(),
        };
        let values = [APP, &timestamp, NONCE, TOKEN, &sign.sign(KEY)];
        let mut query = self.sent.query.clone();
        let mut request = Request::new(Bytes::copy_from_slice(self.sent.body));
        *request.method_mut() = http::Method::POST;
        let headers = request.headers_mut();
        if self.carrier == FieldLocation::Query {
            let fields: Vec<String> =
                FIELDS.iter().zip(values).map(|(name, value)| format!("{name}={value}")).collect();
            let all = query.into_iter().filter(|query| !query.is_empty()).chain([fields.join("&").into_bytes()]);
            query = Some(all.collect::<Vec<_>>().join(&b'&'));
        } else {
            for (name, value) in ["x-app-id", "x-timestamp", "x-nonce", "x-token", "x-sign"].iter().zip(values) {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
        }
        if is_bound {
            headers.insert("x-content-sha256", HeaderValue::from_str(&digest).unwrap());
        }
        if self.body == Body::Encoded {
            headers.insert("content-encoding", HeaderValue::from_static("identity"));
        }
        let content_type = if self.body == Body::Other { "Text/plain; charset=utf-8" } else { FORM };
        headers.insert("content-type", HeaderValue::from_static(content_type));
        headers.insert("content-length", self.sent.body.len().into());
        *request.uri_mut() = target("", b"p", query.as_deref())?;
        Some((request, digest))
    }

    /// The query and body for the service, or the permitted codes.
    fn expected(&self, query: Option<&str>, digest: &str) -> Result<(Vec<u8>, Vec<u8>), Vec<&'static str>> {
        let is_form = matches!(self.body, Body::FormWithDigest | Body::FormWithout);
        // 1
        let mut expected = Vec::new();
        if query.is_some_and(|query| query.len() > self.limits.query()) {
            expected.push("query_too_long");
        }
        let most = self.limits.body() as usize;
        let most = if is_form { most.min(self.limits.form()) } else { most };
        if self.sent.body.len() > most {
            expected.push("body_too_large");
        }
        let drafted = self.sent.query.as_deref().unwrap_or_default();
        if self.carrier != FieldLocation::Headers
            && drafted.split(|&b| b == b'&').any(|piece| field(piece, &FIELDS).is_some())
        {
            // The query contains a field twice.
            expected.push("malformed_field");
        }
        if !expected.is_empty() {
            return Err(expected);
        }
        // 3 and 5
        let sent = self.lines(&self.sent).map_err(|_| vec!["malformed_parameters"])?;
        let had_empty = sent.query.had_empty || sent.form.as_ref().is_some_and(|form| form.had_empty);
        let has_no_parameter = sent.form.as_ref().is_some_and(|form| form.line.is_empty());
        let is_nothing = self.body == Body::FormWithout && !self.sent.body.is_empty() && has_no_parameter;
        if is_nothing || self.policy == ParameterPolicy::Reject && had_empty {
            return Err(vec!["malformed_parameters"]);
        }
        // 6
        if self.lines_of_at_most(usize::MAX, &self.signed).map(|lines| lines.both()).unwrap_or_default() != sent.both()
        {
            return Err(vec!["invalid_signature"]);
        }
        // 9
        if digest.is_empty() && self.body != Body::FormWithout && !self.sent.body.is_empty() {
            return Err(vec!["missing_field"]);
        }
        if !digest.is_empty() && digest != sha256(self.sent.body) {
            return Err(vec!["body_mismatch"]);
        }
        // 10
        let given = |parameters: parameters::Parameters| match self.policy {
            ParameterPolicy::Canonicalize => parameters.line,
            _ => parameters.stripped,
        };
        let body = match sent.form {
            Some(form) if self.body == Body::FormWithout => given(form),
            _ => self.sent.body.to_vec(),
        };
        Ok((given(sent.query), body))
    }

    fn lines(&self, sent: &Sent<'_>) -> Result<Lines, parameters::Malformed> {
        self.lines_of_at_most(self.limits.parameters(), sent)
    }

    fn lines_of_at_most(&self, most: usize, sent: &Sent<'_>) -> Result<Lines, parameters::Malformed> {
        let fields: &[&str] = if self.carrier == FieldLocation::Headers { &[] } else { &FIELDS };
        let query = parameters::read(sent.query.as_deref().unwrap_or_default(), fields, most)?;
        let form = match self.body {
            Body::FormWithDigest | Body::FormWithout => Some(parameters::read(sent.body, &[], most)?),
            Body::Other | Body::Encoded => None,
        };
        Ok(Lines { query, form })
    }

    /// Compares lines 5 and 6 with those of the signer.
    fn compare_signer(&self, scheme: Scheme, sent: &Sent<'_>) {
        let query = sent.query.as_deref().unwrap_or_default();
        if self.carrier != FieldLocation::Headers
            && query.split(|&b| b == b'&').any(|piece| field(piece, &FIELDS).is_some())
        {
            return;
        }
        let Some(uri) = target("", b"p", sent.query.as_deref()) else { return };
        let mut request = Request::post(uri);
        request = request.header("content-type", if self.body == Body::Other { "text/plain" } else { FORM });
        if self.body == Body::Encoded {
            request = request.header("content-encoding", "gzip");
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let signer = rig::signer().with_scheme(scheme);
        let string = signer.string_to_sign_at(&parts, Payload::Bytes(sent.body), rig::now(), NONCE.parse().unwrap());
        let lines = string.ok().map(|string| {
            let lines: Vec<Vec<u8>> = string.split('\n').map(|line| line.as_bytes().to_vec()).collect();
            assert_eq!(lines.len(), 13, "only the key's line could contain a LF");
            (lines[4].clone(), lines[5].clone())
        });
        // The signer has no limits.
        let plain = self.lines_of_at_most(usize::MAX, sent).ok().map(|lines| lines.both());
        assert_eq!(lines, plain);
    }
}
