//! What holds for every request.

use countersign::{Carrier, Parameters, Payload, Scheme};
use http::{Method, Request};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::rig::{self, NOW, signer_of};

/// Decoded parameters, and how each of their bytes is spelled.
type Decoded = Vec<(Vec<u8>, Vec<u8>)>;

fn parameters() -> impl Strategy<Value = Decoded> {
    // Few letters, so that names repeat and requests nearly meet; and every byte that means something.
    let byte = || prop_oneof![4 => select(b"ab1&=%+ ;~".to_vec()), 1 => any::<u8>()];
    vec((vec(byte(), 0..4), vec(byte(), 0..4)), 0..5)
}

/// Writes parameters with one of the spellings that the protocol takes for the same.
fn spelled(parameters: &Decoded, spelling: &mut impl Iterator<Item = u8>) -> String {
    let mut text = |bytes: &[u8]| {
        let spell = |byte: &u8| match (spelling.next().unwrap_or(0) % 3, *byte) {
            (0, b' ') => "+".to_owned(),
            (1, b) => format!("%{b:02x}"),
            (_, b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            (_, b) => format!("%{b:02X}"),
        };
        bytes.iter().map(spell).collect::<String>()
    };
    parameters.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join("&")
}

/// What parameters mean: the non-empty ones, in any order but that of a repeated name.
fn meaning(parameters: &Decoded) -> Decoded {
    let non_empty = parameters.iter().filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let mut meaning: Decoded = non_empty.cloned().collect();
    meaning.sort_by(|a, b| a.0.cmp(&b.0));
    meaning
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    method: &'static str,
    path: String,
    query: Decoded,
    form: Option<Decoded>,
    content_type: &'static str,
    tenant: Option<&'static str>,
}

fn requests() -> impl Strategy<Value = Meaning> {
    let form = prop_oneof![Just(None), parameters().prop_map(Some)];
    let path = select(vec!["/", "/a", "/a/", "/A", "/%61", "/a;b"]);
    let tenant = select(vec![None, Some(""), Some("a"), Some("a:b")]);
    let other = select(vec!["", "text/plain", "multipart/mixed; boundary=a", "multipart/mixed; boundary=b"]);
    (select(vec!["GET", "POST"]), path, parameters(), form, other, tenant).prop_map(
        |(method, path, query, form, other, tenant)| Meaning {
            method,
            path: path.to_owned(),
            query,
            content_type: if form.is_some() { "application/x-www-form-urlencoded" } else { other },
            form,
            tenant,
        },
    )
}

impl Meaning {
    fn string_to_sign(&self, spelling: &[u8]) -> String {
        let mut spelling = spelling.iter().copied().cycle();
        let scheme = Scheme::new().with_signed_headers([http::HeaderName::from_static("x-tenant")]).unwrap();
        let target = format!("{}?{}", self.path, spelled(&self.query, &mut spelling));
        let body = self.form.as_ref().map(|form| spelled(form, &mut spelling)).unwrap_or_default();
        let mut request = Request::builder().method(self.method).uri(target);
        if !self.content_type.is_empty() {
            request = request.header("content-type", self.content_type);
        }
        if let Some(tenant) = self.tenant {
            request = request.header("x-tenant", tenant);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let (timestamp, nonce) = (NOW.try_into().unwrap(), "one-nonce".parse().unwrap());
        let string = signer_of(scheme).string_to_sign_at(&parts, Payload::Bytes(body.as_bytes()), timestamp, nonce);
        let string = string.unwrap();
        // Without the digest, which would tell the spellings of a form apart.
        let mut lines: Vec<_> = string.lines().collect();
        lines[7] = "";
        lines.join("\n")
    }

    fn normal(&self) -> Self {
        Self { query: meaning(&self.query), form: self.form.as_ref().map(meaning), ..self.clone() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Two requests share a string to sign if and only if they mean the same.
    #[test]
    fn the_string_to_sign_is_injective(
        a in requests(), b in requests(), a_spelling in vec(any::<u8>(), 1..9), b_spelling in vec(any::<u8>(), 1..9),
    ) {
        let same_string = a.string_to_sign(&a_spelling) == b.string_to_sign(&b_spelling);
        prop_assert_eq!(same_string, a.normal() == b.normal());
        prop_assert_eq!(a.string_to_sign(&a_spelling), a.string_to_sign(&b_spelling));
    }

    /// Neighbours: one request and the same with its query changed in one place.
    #[test]
    fn a_change_of_meaning_is_a_change_of_string(
        request in requests(), changed in parameters(), spelling in vec(any::<u8>(), 1..9),
    ) {
        let other = Meaning { query: changed, ..request.clone() };
        let same_string = request.string_to_sign(&spelling) == other.string_to_sign(&spelling);
        prop_assert_eq!(same_string, request.normal() == other.normal());
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn bodies() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    prop_oneof![
        Just(("", Vec::new())),
        vec(any::<u8>(), 1..200).prop_map(|body| ("application/octet-stream", body)),
        parameters().prop_map(|form| {
            ("application/x-www-form-urlencoded", spelled(&form, &mut std::iter::repeat(2)).into_bytes())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// What was signed is let in once, and the service sees what was sent, less what is empty.
    #[test]
    fn signed_then_verified(
        method in select(vec!["GET", "POST", "DELETE", "PROPFIND"]),
        path in "/[a-zA-Z0-9/;.~%]{0,12}",
        query in parameters(),
        (content_type, body) in bodies(),
        carrier in select(vec![Carrier::Headers, Carrier::Query, Carrier::Either]),
        token in prop_oneof![Just(None), "[a-zA-Z0-9._~+/=-]{1,20}".prop_map(Some)],
    ) {
        let scheme = Scheme::new().with_carrier(carrier);
        let target = format!("{path}?{}", spelled(&query, &mut std::iter::repeat(2)));
        let mut request = Request::builder().method(method).uri(&target);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let mut signer = signer_of(scheme.clone());
        if let Some(token) = &token {
            signer = signer.with_token(token.parse().unwrap());
        }
        let request = rig::signed_by(&signer, NOW, request.body(body.clone()).unwrap());
        let verifier = rig::verifier().0.with_scheme(scheme);
        let verified = block_on(rig::verify(&verifier, request.clone())).unwrap();
        prop_assert_eq!(verified.method(), &Method::from_bytes(method.as_bytes()).unwrap());
        prop_assert_eq!(verified.uri().path(), path);
        let non_empty = |(name, value): &&(Vec<u8>, Vec<u8>)| !name.is_empty() && !value.is_empty();
        let kept: Decoded = query.iter().filter(non_empty).cloned().collect();
        prop_assert_eq!(verified.uri().query().unwrap_or_default(), spelled(&kept, &mut std::iter::repeat(2)));
        prop_assert_eq!(block_on(rig::bytes(verified.into_body())), body);
        prop_assert_eq!(block_on(rig::code(&verifier, request)), "replayed_nonce");
    }

    /// Any one byte of target, headers or body changed: refused, or seen by the service as it was signed.
    #[test]
    fn no_changed_byte_is_passed_off_as_signed(
        query in parameters(), body in vec(any::<u8>(), 1..40), at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let target = format!("/orders?{}", spelled(&query, &mut std::iter::repeat(2)));
        let request = Request::post(&target).header("content-type", "text/plain").body(body.clone()).unwrap();
        let mut request = rig::signed_by(&rig::signer(), NOW, request);
        let names: Vec<_> = request.headers().keys().cloned().collect();
        let lengths: Vec<_> = names.iter().map(|name| request.headers()[name].len()).collect();
        let mut at = at.index(target.len() + body.len() + lengths.iter().sum::<usize>());
        let mut changed = target.clone().into_bytes();
        if at < changed.len() {
            changed[at] = to;
            match http::Uri::try_from(changed) {
                Ok(uri) => *request.uri_mut() = uri,
                Err(_) => return Ok(()),
            }
        } else if at < changed.len() + body.len() {
            request.body_mut()[at - changed.len()] = to;
        } else {
            at -= changed.len() + body.len();
            let header = lengths.iter().scan(0, |end, length| { *end += length; Some(*end) }).position(|end| at < end).unwrap();
            let start: usize = lengths[..header].iter().sum();
            let mut value = request.headers()[&names[header]].as_bytes().to_vec();
            value[at - start] = to;
            match http::HeaderValue::from_bytes(&value) {
                Ok(value) => drop(request.headers_mut().insert(&names[header], value)),
                Err(_) => return Ok(()),
            }
        }
        let verifier = rig::verifier().0.with_parameters(Parameters::Signed);
        if let Ok(verified) = block_on(rig::verify(&verifier, request)) {
            let expected = rig::canonical_parameters(target.split_once('?').unwrap().1);
            prop_assert_eq!(verified.uri().path(), "/orders");
            prop_assert_eq!(verified.uri().query().unwrap_or_default(), expected);
            prop_assert_eq!(block_on(rig::bytes(verified.into_body())), body);
        }
    }
}
