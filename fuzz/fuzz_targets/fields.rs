//! The fields in every location, against the reference implementation of PROTOCOL.md.
//!
//! A valid request is changed in some places, and signed again after most changes. The reference implementation
//! determines the meaning of its head and the permitted error codes. The verifier must accept the request with exactly
//! that meaning, or reject it with one of those codes and name the faulty field.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use countersign::{Caller, Field, FieldLocation, Scheme};
use countersign_fuzz::{
    config::{COOKIE, Config},
    reference::{
        ExpectedRejection, content_type,
        fields::{self, Claim, Head, Place, Settings},
        parameters,
        string::{StringToSign, sha256},
    },
    rig::{self, APPS, Delivered, KEY, NOW},
    target::target,
};
use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

const HEADERS: [&str; 6] = ["x-app-id", "x-timestamp", "x-nonce", "x-token", "x-sign", "x-content-sha256"];
const RENAMED_HEADERS: [&str; 6] = ["x-client", "date", "x-request-id", "x-api-key", "signature", "digest"];
const RENAMED: [&str; 5] = ["client id", "t", "n%", "apikey", "sign+"];
const FIELDS: [Field; 6] = [Field::AppId, Field::Timestamp, Field::Nonce, Field::Token, Field::Sign, Field::BodyDigest];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    config: Config,
    renamed: bool,
    in_query: bool,
    has_token: bool,
    content_type: Option<&'a [u8]>,
    body: &'a [u8],
    changes: Vec<Change<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Remove(u8),
    /// Replaces the value.
    Set(u8, Value<'a>),
    /// Adds another value, in the query or in a header.
    Add(u8, bool, Value<'a>),
    /// Escapes every byte of the parameter.
    Spell(u8),
    Header(Other, &'a [u8]),
    Parameter(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Bytes(&'a [u8]),
    /// A byte, repeated this many times.
    Run(u8, u16),
    /// This many seconds from the verifier's clock.
    Seconds(i16),
    App(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Other {
    Connection,
    Authorization,
    Bearer,
    Cookie,
    Session,
    Extra,
    ContentType,
    Any,
}

/// `None` if the body is not a form.
type Form = Result<Option<parameters::Parameters>, parameters::Malformed>;

/// A field of the request. The signature is computed last, unless a change has set it.
#[derive(Clone, Debug)]
struct Placed {
    field: usize,
    in_query: bool,
    value: Option<Vec<u8>>,
    is_spelled: bool,
}

fuzz_target!(|input: Input| {
    let _ = input.run();
});

impl Input<'_> {
    /// Returns `None` if HTTP has no such request.
    fn run(&self) -> Option<()> {
        let scheme = self.scheme();
        let place = match scheme.token_location() {
            countersign::TokenLocation::Bearer => Place::Bearer,
            countersign::TokenLocation::Cookie(_) => Place::Cookie(COOKIE),
            _ => Place::Field,
        };
        let carrier = self.config.field_location();
        let settings = Settings {
            accepts: (carrier != FieldLocation::Query, carrier != FieldLocation::Headers),
            headers: if self.renamed { RENAMED_HEADERS } else { HEADERS },
            parameters: if self.renamed { RENAMED } else { parameters::FIELDS },
            place,
            signed_headers: if self.config.signed_headers { &["x-extra"] } else { &[] },
        };
        let placed = self.placed();
        let (headers, query) = self.head(&settings, &placed, "0".repeat(64).as_bytes());
        let sign = match fields::read(&settings, &Head { headers: &headers, query: &query }) {
            Ok(claim) => self.sign(&settings, &claim, &headers, &query),
            Err(_) => None,
        };
        let sign = sign.unwrap_or_else(|| "0".repeat(64));
        let (headers, query) = self.head(&settings, &placed, sign.as_bytes());

        let mut request = Request::new(Bytes::copy_from_slice(self.body));
        *request.uri_mut() = target("", b"p", (!query.is_empty()).then_some(&query))?;
        if request.uri().query().unwrap_or_default().as_bytes() != query {
            return None;
        }
        for (name, value) in &headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
        let verifier = rig::verifier().with_scheme(scheme);
        let expected = self.expected(&settings, &headers, &query, &sign);
        match (rig::verify(&verifier, &request), expected) {
            (Ok(delivered), Ok((claim, query, body))) => {
                let caller = delivered.extensions().get::<Caller>().unwrap();
                assert_eq!(caller.app_id().as_str().as_bytes(), claim.app);
                assert_eq!(caller.timestamp().to_string().as_bytes(), claim.timestamp);
                assert_eq!(caller.nonce().unwrap().as_str().as_bytes(), claim.nonce);
                assert_eq!(caller.token().map(|token| token.expose().as_bytes()), claim.token.as_deref());
                let seen = Delivered::of(delivered);
                assert_eq!(seen.query.unwrap_or_default(), query);
                assert_eq!(seen.body, body);
            }
            (Err(rejection), Err(expected)) => {
                let is_expected = |(code, field): &ExpectedRejection| {
                    *code == rejection.kind().code() && (field.is_empty() || Some(&**field) == rejection.field())
                };
                assert!(
                    expected.iter().any(is_expected),
                    "{rejection:?} of {:?}, expected {expected:?}",
                    rejection.field()
                );
            }
            (Ok(_), Err(expected)) => panic!("accepted, expected {expected:?}"),
            (Err(rejection), Ok(_)) => panic!("rejected, expected to be accepted: {rejection:?}"),
        }
        Some(())
    }

    fn scheme(&self) -> Scheme {
        let mut scheme = self.config.scheme();
        if self.renamed {
            for (field, name) in FIELDS.iter().zip(RENAMED_HEADERS) {
                scheme = scheme.with_header_name(*field, HeaderName::from_static(name)).unwrap();
            }
            for (field, name) in FIELDS.iter().zip(RENAMED) {
                scheme = scheme.with_parameter_name(*field, name).unwrap();
            }
        }
        let signed = self.config.signed_headers.then_some(HeaderName::from_static("x-extra"));
        scheme.with_signed_headers(signed).unwrap()
    }

    fn placed(&self) -> Vec<Placed> {
        let right = |field: usize, value: Option<&[u8]>| Placed {
            field,
            in_query: self.in_query && field < 5,
            value: value.map(<[u8]>::to_vec),
            is_spelled: false,
        };
        let (timestamp, digest) = (NOW.to_string(), sha256(self.body));
        let mut placed = vec![
            right(0, Some(b"demo")),
            right(1, Some(timestamp.as_bytes())),
            right(2, Some(b"nonce-1")),
            right(4, None),
        ];
        placed.extend(self.has_token.then(|| right(3, Some(b"tok+en/1=="))));
        placed.extend((!self.body.is_empty()).then(|| right(5, Some(digest.as_bytes()))));
        for change in &self.changes {
            match change {
                Change::Remove(field) => placed.retain(|placed| placed.field != usize::from(field % 6)),
                Change::Set(field, value) => {
                    for placed in placed.iter_mut().filter(|placed| placed.field == usize::from(field % 6)) {
                        placed.value = Some(value.bytes());
                    }
                }
                Change::Add(field, in_query, value) => {
                    let field = usize::from(field % 6);
                    let in_query = *in_query && field < 5;
                    placed.push(Placed { field, in_query, value: Some(value.bytes()), is_spelled: false });
                }
                Change::Spell(field) => {
                    for placed in placed.iter_mut().filter(|placed| placed.field == usize::from(field % 6)) {
                        placed.is_spelled = true;
                    }
                }
                Change::Header(..) | Change::Parameter(_) => {}
            }
        }
        placed
    }

    /// Headers and query of the request, with this signature unless a change has set one.
    fn head(&self, settings: &Settings<'_>, placed: &[Placed], sign: &[u8]) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        let mut query: Vec<Vec<u8>> = Vec::new();
        for placed in placed {
            let value = placed.value.as_deref().unwrap_or(sign);
            if placed.in_query {
                let spell = |text: &[u8]| match placed.is_spelled {
                    true => text.iter().map(|b| format!("%{b:02x}")).collect(),
                    false => parameters::encode(text),
                };
                let name = spell(settings.parameters[placed.field].as_bytes());
                query.push(format!("{name}={}", spell(value)).into_bytes());
            } else {
                headers.push((settings.headers[placed.field].to_owned(), value.to_vec()));
            }
        }
        for change in &self.changes {
            match change {
                Change::Header(other, value) => headers.push(other.header(settings, value)),
                // A target cannot contain some bytes. Then there is no request.
                Change::Parameter(text) => query.push(text.to_vec()),
                _ => {}
            }
        }
        headers.extend(self.content_type.map(|value| ("content-type".to_owned(), value.to_vec())));
        (headers, query.join(&b'&'))
    }

    /// Returns `None` if the request cannot be signed.
    fn sign(
        &self,
        settings: &Settings<'_>,
        claim: &Claim,
        headers: &[(String, Vec<u8>)],
        query: &[u8],
    ) -> Option<String> {
        let query = self.read_query(settings, query).ok()?;
        let (content_type, form) = self.form(headers)?;
        let key = APPS.iter().find(|(app, _)| app.as_bytes() == claim.app).map_or(KEY, |(_, key)| key);
        let string = StringToSign {
            method: "GET",
            audience: if self.config.audience { "api" } else { "" },
            path: "/p",
            query: &query.line,
            form: &form.ok()?.map(|form| form.line).unwrap_or_default(),
            content_type: &content_type,
            digest: claim.digest.as_deref().unwrap_or_default(),
            headers: &claim.headers,
            app: &claim.app,
            token: &claim.token_line(settings.place),
            timestamp: &claim.timestamp,
            nonce: &claim.nonce,
        };
        Some(string.sign(key))
    }

    fn read_query(
        &self,
        settings: &Settings<'_>,
        query: &[u8],
    ) -> Result<parameters::Parameters, parameters::Malformed> {
        parameters::read(query, if settings.accepts.1 { &settings.parameters } else { &[] }, 256)
    }

    /// Lines 7 and 6. Returns `None` if the content type is malformed.
    fn form(&self, headers: &[(String, Vec<u8>)]) -> Option<(Vec<u8>, Form)> {
        let types: Vec<&[u8]> =
            headers.iter().filter(|(name, _)| name == "content-type").map(|(_, value)| &**value).collect();
        let content_type = match types[..] {
            [] => Vec::new(),
            [value] => content_type::line(value)?,
            _ => return None,
        };
        let form = match &*content_type == b"application/x-www-form-urlencoded" {
            true => parameters::read(self.body, &[], 256).map(Some),
            false => Ok(None),
        };
        Some((content_type, form))
    }

    /// The claim with the query and body for the service, or the permitted rejections of the first failing step.
    fn expected(
        &self,
        settings: &Settings<'_>,
        headers: &[(String, Vec<u8>)],
        query: &[u8],
        sign: &str,
    ) -> Result<(Claim, Vec<u8>, Vec<u8>), Vec<ExpectedRejection>> {
        let one = |code: &'static str, field: &str| vec![(code, field.to_owned())];
        // A query that is too long is rejected before it is searched for fields.
        if query.len() > 16 * 1024 {
            return Err(one("query_too_long", ""));
        }
        // 1
        let form = self.form(headers).ok_or_else(|| one("malformed_field", "content-type"));
        let claim = fields::read(settings, &Head { headers, query });
        let (claim, (_, form)) = match (claim, form) {
            (Err(expected), _) if expected == one("unsigned", "") => return Err(expected),
            (Ok(claim), Ok(form)) => (claim, form),
            (claim, form) => return Err([claim.err(), form.err()].into_iter().flatten().flatten().collect()),
        };
        // 2
        let timestamp: u64 = std::str::from_utf8(&claim.timestamp).unwrap().parse().unwrap();
        if timestamp.abs_diff(NOW) > 300 {
            return Err(one("stale_timestamp", ""));
        }
        // 3
        let query = self.read_query(settings, query).map_err(|_| one("malformed_parameters", ""))?;
        // 5
        let form = form.map_err(|_| one("malformed_parameters", ""))?;
        if claim.digest.is_none() && !self.body.is_empty() && form.as_ref().is_some_and(|form| form.line.is_empty()) {
            return Err(one("malformed_parameters", ""));
        }
        // 6
        if !APPS.iter().any(|(app, _)| app.as_bytes() == claim.app) || claim.sign != sign.as_bytes() {
            return Err(one("invalid_signature", ""));
        }
        // 9
        let body = match (&claim.digest, form) {
            (Some(digest), _) if digest != sha256(self.body).as_bytes() => return Err(one("body_mismatch", "")),
            (None, None) if !self.body.is_empty() => return Err(one("missing_field", settings.headers[5])),
            (None, Some(form)) => form.stripped,
            _ => self.body.to_vec(),
        };
        Ok((claim, query.stripped, body))
    }
}

impl Value<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Run(byte, length) => vec![*byte; usize::from(*length) % 520],
            Self::Seconds(seconds) => NOW.checked_add_signed((*seconds).into()).unwrap().to_string().into_bytes(),
            Self::App(index) => APPS[usize::from(*index) % APPS.len()].0.as_bytes().to_vec(),
        }
    }
}

impl Other {
    fn header(self, settings: &Settings<'_>, value: &[u8]) -> (String, Vec<u8>) {
        let all = ["connection", "authorization", "cookie", "x-extra", "accept"];
        let (name, value) = match self {
            // The first byte selects a header name, which is followed by the rest of the bytes.
            Self::Connection => {
                let known = settings.headers.iter().chain(&["content-type", "authorization", "cookie", "x-extra"]);
                let known: Vec<&str> = known.copied().collect();
                let picked = known[usize::from(value.first().copied().unwrap_or_default()) % known.len()];
                ("connection", [picked.as_bytes(), value.get(1..).unwrap_or_default()].concat())
            }
            Self::Authorization => ("authorization", value.to_vec()),
            Self::Bearer => ("authorization", [b"Bearer ", value].concat()),
            Self::Cookie => ("cookie", value.to_vec()),
            Self::Session => ("cookie", [b"a=1; session=", value].concat()),
            Self::Extra => ("x-extra", value.to_vec()),
            Self::ContentType => ("content-type", value.to_vec()),
            Self::Any => (all[value.len() % all.len()], value.to_vec()),
        };
        (name.to_owned(), value)
    }
}
