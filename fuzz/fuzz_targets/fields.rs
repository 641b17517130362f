//! The fields wherever they may travel, against a second reading of PROTOCOL.md.
//!
//! A right request is spoilt in some places, and signed anew in most of them. What its head then means, and which codes
//! may be due, is worked out by the second reading: the verifier must accept it with just that meaning, or refuse it with
//! one of those codes, naming what is at fault.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use countersign::{Caller, Field, FieldLocation, Scheme};
use countersign_fuzz::{
    config::{COOKIE, Config},
    reference::{
        Due, content_type,
        fields::{self, Agreed, Claim, Head, Place},
        parameters,
        string::{StringToSign, sha256},
    },
    rig::{self, APPS, KEY, NOW, Sight},
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
    /// In its place.
    Set(u8, Value<'a>),
    /// One more, in either place.
    Add(u8, bool, Value<'a>),
    /// A parameter of which every byte is an escape.
    Spell(u8),
    Header(Other, &'a [u8]),
    Parameter(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Bytes(&'a [u8]),
    /// As many of one byte.
    Run(u8, u16),
    /// So many seconds from the verifier's clock.
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

/// `None` is a body that is no form.
type Form = Result<Option<parameters::Parameters>, parameters::Malformed>;

/// A field on its way: the sign is worked out last, unless somebody has set it.
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
    /// `None` if HTTP has no such request.
    fn run(&self) -> Option<()> {
        let scheme = self.scheme();
        let place = match scheme.token_location() {
            countersign::TokenLocation::Bearer => Place::Bearer,
            countersign::TokenLocation::Cookie(_) => Place::Cookie(COOKIE),
            _ => Place::Field,
        };
        let carrier = self.config.field_location();
        let agreed = Agreed {
            takes: (carrier != FieldLocation::Query, carrier != FieldLocation::Headers),
            headers: if self.renamed { RENAMED_HEADERS } else { HEADERS },
            parameters: if self.renamed { RENAMED } else { parameters::FIELDS },
            place,
            signed_headers: if self.config.signed_headers { &["x-extra"] } else { &[] },
        };
        let placed = self.placed();
        let (headers, query) = self.head(&agreed, &placed, "0".repeat(64).as_bytes());
        let sign = match fields::read(&agreed, &Head { headers: &headers, query: &query }) {
            Ok(claim) => self.sign(&agreed, &claim, &headers, &query),
            Err(_) => None,
        };
        let sign = sign.unwrap_or_else(|| "0".repeat(64));
        let (headers, query) = self.head(&agreed, &placed, sign.as_bytes());

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
        let expected = self.expected(&agreed, &headers, &query, &sign);
        match (rig::verify(&verifier, &request), expected) {
            (Ok(delivered), Ok((claim, query, body))) => {
                let caller = delivered.extensions().get::<Caller>().unwrap();
                assert_eq!(caller.app_id().as_str().as_bytes(), claim.app);
                assert_eq!(caller.timestamp().to_string().as_bytes(), claim.timestamp);
                assert_eq!(caller.nonce().unwrap().as_str().as_bytes(), claim.nonce);
                assert_eq!(caller.token().map(|token| token.expose().as_bytes()), claim.token.as_deref());
                let seen = Sight::of(delivered);
                assert_eq!(seen.query.unwrap_or_default(), query);
                assert_eq!(seen.body, body);
            }
            (Err(refused), Err(due)) => {
                let is_due = |(code, field): &Due| {
                    *code == refused.kind().code() && (field.is_empty() || Some(&**field) == refused.field())
                };
                assert!(due.iter().any(is_due), "{refused:?} of {:?}, due is {due:?}", refused.field());
            }
            (Ok(_), Err(due)) => panic!("accepted, due is {due:?}"),
            (Err(refused), Ok(_)) => panic!("refused, to be accepted: {refused:?}"),
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

    /// Headers and query as they travel, with this sign where nobody has set one.
    fn head(&self, agreed: &Agreed<'_>, placed: &[Placed], sign: &[u8]) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        let mut query: Vec<Vec<u8>> = Vec::new();
        for placed in placed {
            let value = placed.value.as_deref().unwrap_or(sign);
            if placed.in_query {
                let spell = |text: &[u8]| match placed.is_spelled {
                    true => text.iter().map(|b| format!("%{b:02x}")).collect(),
                    false => parameters::encode(text),
                };
                let name = spell(agreed.parameters[placed.field].as_bytes());
                query.push(format!("{name}={}", spell(value)).into_bytes());
            } else {
                headers.push((agreed.headers[placed.field].to_owned(), value.to_vec()));
            }
        }
        for change in &self.changes {
            match change {
                Change::Header(other, value) => headers.push(other.header(agreed, value)),
                // Bytes that a target cannot hold make no request.
                Change::Parameter(text) => query.push(text.to_vec()),
                _ => {}
            }
        }
        headers.extend(self.content_type.map(|value| ("content-type".to_owned(), value.to_vec())));
        (headers, query.join(&b'&'))
    }

    /// `None` if there is nothing to sign, or nobody to sign it.
    fn sign(&self, agreed: &Agreed<'_>, claim: &Claim, headers: &[(String, Vec<u8>)], query: &[u8]) -> Option<String> {
        let query = self.read_query(agreed, query).ok()?;
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
            token: &claim.token_line(agreed.place),
            timestamp: &claim.timestamp,
            nonce: &claim.nonce,
        };
        Some(string.sign(key))
    }

    fn read_query(&self, agreed: &Agreed<'_>, query: &[u8]) -> Result<parameters::Parameters, parameters::Malformed> {
        parameters::read(query, if agreed.takes.1 { &agreed.parameters } else { &[] }, 256)
    }

    /// Lines 7 and 6. `None` if the content type is malformed.
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

    /// The claim, and the service's query and body, or what may be due at the first step that fails.
    fn expected(
        &self,
        agreed: &Agreed<'_>,
        headers: &[(String, Vec<u8>)],
        query: &[u8],
        sign: &str,
    ) -> Result<(Claim, Vec<u8>, Vec<u8>), Vec<Due>> {
        let one = |code: &'static str, field: &str| vec![(code, field.to_owned())];
        // Before all: nothing is looked for in such a query.
        if query.len() > 16 * 1024 {
            return Err(one("query_too_long", ""));
        }
        // 1
        let form = self.form(headers).ok_or_else(|| one("malformed_field", "content-type"));
        let claim = fields::read(agreed, &Head { headers, query });
        let (claim, (_, form)) = match (claim, form) {
            (Err(due), _) if due == one("unsigned", "") => return Err(due),
            (Ok(claim), Ok(form)) => (claim, form),
            (claim, form) => return Err([claim.err(), form.err()].into_iter().flatten().flatten().collect()),
        };
        // 2
        let timestamp: u64 = std::str::from_utf8(&claim.timestamp).unwrap().parse().unwrap();
        if timestamp.abs_diff(NOW) > 300 {
            return Err(one("stale_timestamp", ""));
        }
        // 3
        let query = self.read_query(agreed, query).map_err(|_| one("malformed_parameters", ""))?;
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
            (None, None) if !self.body.is_empty() => return Err(one("missing_field", agreed.headers[5])),
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
    fn header(self, agreed: &Agreed<'_>, value: &[u8]) -> (String, Vec<u8>) {
        let all = ["connection", "authorization", "cookie", "x-extra", "accept"];
        let (name, value) = match self {
            // Its name, or what the first byte picks.
            Self::Connection => {
                let known = agreed.headers.iter().chain(&["content-type", "authorization", "cookie", "x-extra"]);
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
