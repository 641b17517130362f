//! Requests signed by the reference implementation, without the crate's code.

use countersign::{
    Field, FieldLocation, Payload, Scheme, Secret, Signer, StaticKeys, TokenLocation, Verifier, clock::ManualClock,
};
use http::Request;

use crate::{
    reference::{
        content_type,
        string::{hmac_sha256, sha256},
    },
    rig::{self, KEY, NOW},
};

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// A request and all inputs of its signature.
#[derive(Clone, Debug)]
pub(super) struct ReferenceRequest {
    /// Its field location decides whether the fields are sent in headers or in the query.
    pub(super) scheme: Scheme,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) has_digest: bool,
    pub(super) app_id: &'static str,
    pub(super) token: Option<String>,
    pub(super) key: &'static str,
    pub(super) timestamp: u64,
    pub(super) nonce: String,
}

/// A line of the string to sign, with its name in PROTOCOL.md.
pub(super) type Line = (&'static str, String);

impl ReferenceRequest {
    pub(super) fn new(method: &str, target: &str) -> Self {
        Self {
            scheme: Scheme::new(),
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            has_digest: false,
            app_id: "demo",
            token: None,
            key: KEY,
            timestamp: NOW,
            nonce: "one-nonce".to_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| &**value)
    }

    pub(super) fn is_form(&self) -> bool {
        self.content_type() == FORM && self.header("content-encoding").is_none()
    }

    /// The lines in the order of PROTOCOL.md.
    pub(super) fn lines(&self) -> Vec<Line> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let form = if self.is_form() { String::from_utf8(self.body.clone()).unwrap() } else { String::new() };
        let mut lines = vec![
            ("purpose", "CS1-REQUEST".to_owned()),
            ("method", self.method.clone()),
            ("audience", self.scheme.audience().to_owned()),
            ("path", path.to_owned()),
            ("query parameters", rig::canonical_parameters(query)),
            ("form parameters", rig::canonical_parameters(&form)),
            ("content type", self.content_type()),
            ("body digest", self.digest().unwrap_or_default()),
        ];
        let signed = self.scheme.signed_headers().iter().map(|name| match self.header(name.as_str()) {
            Some(value) => ("signed header", format!("{name}:{}", value.trim_matches([' ', '\t']))),
            None => ("signed header", name.to_string()),
        });
        lines.extend(signed);
        lines.extend([
            ("app id", self.app_id.to_owned()),
            ("token", self.token_line()),
            ("key", self.key.to_owned()),
            ("timestamp", self.timestamp.to_string()),
            ("nonce", self.nonce.clone()),
        ]);
        lines
    }

    pub(super) fn sign_of(&self, lines: &[Line]) -> String {
        let lines: Vec<&str> = lines.iter().map(|(_, line)| &**line).collect();
        hmac_sha256(self.key, lines.join("\n").as_bytes())
    }

    pub(super) fn signed(&self) -> Request<Vec<u8>> {
        self.with_sign(&self.sign_of(&self.lines()))
    }

    /// The request with this signature.
    pub(super) fn with_sign(&self, sign: &str) -> Request<Vec<u8>> {
        let token = self.token.as_deref().filter(|_| *self.scheme.token_location() == TokenLocation::Field);
        let fields = [
            (Field::AppId, Some(self.app_id.to_owned())),
            (Field::Timestamp, Some(self.timestamp.to_string())),
            (Field::Nonce, Some(self.nonce.clone())),
            (Field::Token, token.map(str::to_owned)),
            (Field::Sign, Some(sign.to_owned())),
        ];
        let mut target = self.target.clone();
        let mut headers: Vec<(String, String)> = self.plain_headers();
        for (field, value) in fields.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            match (self.scheme.field_location(), self.scheme.parameter_name(field)) {
                (FieldLocation::Query, Some(name)) => {
                    target.push(if target.contains('?') { '&' } else { '?' });
                    target.push_str(&format!("{name}={}", value.replace('+', "%2B").replace('/', "%2F")));
                }
                _ => headers.push((self.scheme.header_name(field).to_string(), value)),
            }
        }
        let mut request = Request::builder().method(&*self.method).uri(target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(self.body.clone()).unwrap()
    }

    /// The same request, signed by the crate, which sends a digest with every body.
    pub(super) fn signed_by_the_crate(&self) -> Request<Vec<u8>> {
        let request = Request::builder().method(&*self.method).uri(&self.target);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let (mut parts, body) = request.body(self.body.clone()).unwrap().into_parts();
        let mut signer = Signer::new(self.app_id.parse().unwrap(), Secret::new(self.key).unwrap());
        if let Some(token) = &self.token {
            signer = signer.with_token(token.parse().unwrap());
        }
        let (timestamp, nonce) = (self.timestamp.try_into().unwrap(), self.nonce.parse().unwrap());
        let signer = signer.with_scheme(self.scheme.clone());
        signer.sign_at(&mut parts, Payload::Bytes(&body), timestamp, nonce).unwrap();
        Request::from_parts(parts, body)
    }

    /// A verifier that accepts the request. It also knows another app with the same key.
    pub(super) fn verifier(&self) -> Verifier<StaticKeys> {
        let apps = ["demo", "twin"].map(|app| (app.parse().unwrap(), Secret::new(self.key).unwrap()));
        Verifier::new(StaticKeys::new(apps).unwrap()).with_clock(ManualClock::at(NOW)).with_scheme(self.scheme.clone())
    }

    fn plain_headers(&self) -> Vec<(String, String)> {
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        match (self.scheme.token_location(), &self.token) {
            (TokenLocation::Bearer, Some(token)) => {
                headers.push(("authorization".to_owned(), format!("Bearer {token}")))
            }
            (TokenLocation::Cookie(name), Some(token)) => {
                headers.push(("cookie".to_owned(), format!("a=1; {name}={token}")));
            }
            _ => {}
        }
        headers.extend(self.digest().map(|digest| ("x-content-sha256".to_owned(), digest)));
        headers
    }

    fn digest(&self) -> Option<String> {
        self.has_digest.then(|| sha256(&self.body))
    }

    fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        let line = if value.is_empty() { Vec::new() } else { content_type::line(value.as_bytes()).unwrap() };
        String::from_utf8(line).unwrap()
    }

    fn token_line(&self) -> String {
        match (self.scheme.token_location(), &self.token) {
            (TokenLocation::Cookie(_), Some(token)) => {
                format!("cookie:{}", sha256(format!("CS1-COOKIE\n{token}").as_bytes()))
            }
            (_, token) => token.clone().unwrap_or_default(),
        }
    }
}
