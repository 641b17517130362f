//! Two requests have the same string to sign if and only if they have the same meaning.

use countersign::{Payload, Scheme, TokenLocation};
use http::{HeaderName, Request};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Decoded, by_hand::FORM, meaning, parameters, spelled};
use crate::rig::{self, NOW};

/// All signed values except the key, which the string to sign does not contain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    method: &'static str,
    audience: &'static str,
    path: &'static str,
    query: Decoded,
    body: Body,
    content_type: &'static str,
    /// The values of the signed headers.
    headers: [Option<&'static str>; 3],
    app_id: &'static str,
    token: Option<&'static str>,
    timestamp: u64,
    nonce: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    Bytes(Vec<u8>),
    /// A form of which only the parameters are signed.
    Form(Decoded),
}

fn meanings() -> impl Strategy<Value = Meaning> {
    let bytes = vec(select(b"a=&\n".to_vec()), 0..4);
    let body = prop_oneof![bytes.prop_map(Body::Bytes), parameters().prop_map(Body::Form)];
    let content_type = select(vec![
        "",
        "a/b",
        "a/B",
        "a/bc",
        "multipart/a; boundary=a",
        "multipart/a; boundary=A",
        "multipart/ab; boundary=a",
    ]);
    let header = || select(vec![None, Some(""), Some("a"), Some("a:b"), Some(" a\t"), Some("x-b"), Some("x-b:a")]);
    let request = (
        select(vec!["GET", "get", "POST", "GET1"]),
        select(vec!["", "a", "/", "GET"]),
        select(vec!["/", "/a", "/a/", "/A", "/%61", "/a;b", "/a&b=1", "//a"]),
        parameters(),
        body,
        content_type,
    );
    let fields = (
        [header(), header(), header()],
        select(vec!["a", "A", "a-1", "1"]),
        select(vec![None, Some("a"), Some("1"), Some("a-1")]),
        select(vec![1, 17, NOW, NOW + 1]),
        select(vec!["nonce-1", "nonce-11", "170000", "1700000000"]),
    );
    (request, fields).prop_map(
        |((method, audience, path, query, body, other), (headers, app_id, token, timestamp, nonce))| Meaning {
            method,
            audience,
            path,
            query,
            content_type: if matches!(body, Body::Form(_)) { FORM } else { other },
            body,
            headers,
            app_id,
            token,
            timestamp,
            nonce,
        },
    )
}

impl Meaning {
    fn string_to_sign(&self, spelling: &[u8], token_location: &TokenLocation) -> String {
        let names = ["x-a", "x-b", "x-c"].map(HeaderName::from_static);
        let scheme = Scheme::new().with_signed_headers(names.clone()).unwrap();
        let scheme = scheme.with_audience(self.audience).unwrap().with_token_location(token_location.clone()).unwrap();
        let target = format!("{}?{}", self.path, spelled(&self.query, spelling));
        let body = match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Form(form) => spelled(form, spelling).into_bytes(),
        };
        let mut request = Request::builder().method(self.method).uri(target);
        if !self.content_type.is_empty() {
            request = request.header("content-type", self.content_type);
        }
        for (name, value) in names.iter().zip(self.headers) {
            request = value.into_iter().fold(request, |request, value| request.header(name, value));
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut signer = countersign::Signer::new(self.app_id.parse().unwrap(), rig::secret()).with_scheme(scheme);
        if let Some(token) = self.token {
            signer = signer.with_token(token.parse().unwrap());
        }
        let (timestamp, nonce) = (self.timestamp.try_into().unwrap(), self.nonce.parse().unwrap());
        let string = signer.string_to_sign_at(&parts, Payload::Bytes(&body), timestamp, nonce).unwrap();
        // Ignore the digest of a form, which depends on the spelling.
        let mut lines: Vec<_> = string.split('\n').collect();
        if let Body::Form(_) = self.body {
            lines[7] = "";
        }
        lines.join("\n")
    }

    fn normal(&self) -> Self {
        Self {
            query: meaning(&self.query),
            body: match &self.body {
                Body::Form(form) => Body::Form(meaning(form)),
                bytes => bytes.clone(),
            },
            content_type: if self.content_type == "a/B" { "a/b" } else { self.content_type },
            headers: self.headers.map(|value| value.map(|value| value.trim_matches([' ', '\t']))),
            ..self.clone()
        }
    }

    /// A copy in which one part is replaced by the other's.
    fn with_part_of(&self, part: usize, other: &Self) -> Self {
        let mut one = self.clone();
        match part {
            0 => one.method = other.method,
            1 => one.audience = other.audience,
            2 => one.path = other.path,
            3 => one.query.clone_from(&other.query),
            4 => {
                one.body.clone_from(&other.body);
                one.content_type = other.content_type;
            }
            5 => one.headers = other.headers,
            6 => one.headers.rotate_left(1),
            7 => one.app_id = other.app_id,
            8 => one.token = other.token,
            9 => one.timestamp = other.timestamp,
            10 => one.nonce = other.nonce,
            _ => one.clone_from(other),
        }
        one
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn string_to_sign_is_injective(
        one in meanings(), another in meanings(), part in 0..12_usize, spellings in [vec(any::<u8>(), 1..9), vec(any::<u8>(), 1..9)],
        place in select(vec![TokenLocation::Field, TokenLocation::Bearer, TokenLocation::Cookie("sid".to_owned())]),
    ) {
        let other = one.with_part_of(part, &another);
        let strings = [&one, &other].map(|request| request.string_to_sign(&spellings[0], &place));
        prop_assert_eq!(strings[0] == strings[1], one.normal() == other.normal());
        prop_assert_eq!(&strings[0], &one.string_to_sign(&spellings[1], &place), "another spelling");
    }
}
