//! Every combination of body kind, field location, token location and parameter policy. A signed request is accepted
//! once, and the service gets the signed content.

use countersign::{Caller, FieldLocation, ParameterPolicy, Scheme, StaticKeys, TokenLocation, Verifier};
use http::{HeaderName, Request};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};

use super::{
    Decoded, block_on,
    by_hand::{FORM, ReferenceRequest},
    parameters, spelled,
};
use crate::rig;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Nothing,
    Bytes,
    Streamed,
    Multipart,
    Form,
    /// A client that can sign only parameters sends such a form.
    FormWithoutDigest,
    EmptyForm,
    EmptyFormWithoutDigest,
    /// The content encoding makes it an opaque body instead of a form.
    EncodedForm,
}

/// The settings of client and server, and the kind of body.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    sent_in: FieldLocation,
    taken_from: FieldLocation,
    token_location: TokenLocation,
    pub(super) parameters: ParameterPolicy,
    pub(super) kind: Kind,
}

/// All combinations.
pub(super) fn setups() -> Vec<Setup> {
    use Kind::{
        Bytes, EmptyForm, EmptyFormWithoutDigest, EncodedForm, Form, FormWithoutDigest, Multipart, Nothing, Streamed,
    };
    let mut setups = Vec::new();
    for kind in
        [Nothing, Bytes, Streamed, Multipart, Form, FormWithoutDigest, EmptyForm, EmptyFormWithoutDigest, EncodedForm]
    {
        for (sent_in, taken_from) in [
            (FieldLocation::Headers, FieldLocation::Headers),
            (FieldLocation::Query, FieldLocation::Query),
            (FieldLocation::Headers, FieldLocation::Either),
            (FieldLocation::Query, FieldLocation::Either),
        ] {
            for token_location in [TokenLocation::Field, TokenLocation::Bearer, TokenLocation::Cookie("sid".to_owned())]
            {
                for parameters in [ParameterPolicy::Strip, ParameterPolicy::Canonicalize, ParameterPolicy::Reject] {
                    setups.push(Setup {
                        sent_in,
                        taken_from,
                        token_location: token_location.clone(),
                        parameters,
                        kind,
                    });
                }
            }
        }
    }
    setups
}

/// The content of a request, independent of the setup.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) query: Decoded,
    pub(super) bytes: Vec<u8>,
    pub(super) form: Decoded,
    pub(super) spelling: Vec<u8>,
    pub(super) token: Option<String>,
    pub(super) tenant: Option<&'static str>,
}

pub(super) fn contents() -> impl Strategy<Value = Content> {
    let head = (select(vec!["GET", "POST", "DELETE", "PROPFIND"]), "/[a-zA-Z0-9/;.~%]{0,12}", parameters());
    let body = (vec(any::<u8>(), 1..100), parameters(), vec(any::<u8>(), 1..9));
    let token = prop_oneof![Just(None), "[a-zA-Z0-9._~+/=-]{1,20}".prop_map(Some)];
    let tenant = select(vec![None, Some(""), Some("a"), Some("a:b")]);
    (head, body, token, tenant).prop_map(|((method, path, query), (bytes, form, spelling), token, tenant)| Content {
        method,
        path,
        query,
        bytes,
        form,
        spelling,
        token,
        tenant,
    })
}

impl Setup {
    /// The request that is signed in this setup.
    pub(super) fn reference_request(&self, content: &Content) -> ReferenceRequest {
        let query = spelled(&content.query, &content.spelling);
        let target = if query.is_empty() { content.path.clone() } else { format!("{}?{query}", content.path) };
        let (content_type, body) = match self.kind {
            Kind::Nothing => ("", Vec::new()),
            Kind::Bytes => ("application/octet-stream", content.bytes.clone()),
            Kind::Streamed => ("Application/JSON; charset=utf-8", content.bytes.clone()),
            Kind::Multipart => ("multipart/mixed; boundary=XyZ", content.bytes.clone()),
            Kind::Form | Kind::FormWithoutDigest => (FORM, spelled(&content.form, &content.spelling).into_bytes()),
            Kind::EmptyForm | Kind::EmptyFormWithoutDigest => (FORM, Vec::new()),
            Kind::EncodedForm => (FORM, content.bytes.clone()),
        };
        let headers = [
            ("content-type", Some(content_type).filter(|value| !value.is_empty())),
            ("content-encoding", (self.kind == Kind::EncodedForm).then_some("gzip")),
            ("x-tenant", content.tenant),
        ];
        ReferenceRequest {
            scheme: self.scheme().with_field_location(self.sent_in),
            headers: headers.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))).collect(),
            body,
            has_digest: !matches!(self.kind, Kind::Nothing | Kind::FormWithoutDigest | Kind::EmptyFormWithoutDigest),
            token: content.token.clone(),
            ..ReferenceRequest::new(content.method, &target)
        }
    }

    pub(super) fn verifier(&self, request: &ReferenceRequest) -> Verifier<StaticKeys> {
        let scheme = self.scheme().with_field_location(self.taken_from);
        let verifier = request.verifier().with_scheme(scheme).with_parameters(self.parameters);
        if self.kind == Kind::Streamed { verifier.with_streamed_bodies() } else { verifier }
    }

    fn scheme(&self) -> Scheme {
        let names = ["x-tenant", "x-user"].map(HeaderName::from_static);
        let scheme = Scheme::new().with_signed_headers(names).unwrap().with_audience("orders").unwrap();
        scheme.with_token_location(self.token_location.clone()).unwrap()
    }

    /// The code with which a correctly signed request is rejected, if any.
    fn expected_rejection(&self, content: &Content) -> Option<&'static str> {
        let has_form = matches!(self.kind, Kind::Form | Kind::FormWithoutDigest);
        let has_empty = |parameters: &Decoded| !parameters.iter().all(super::is_signed);
        let is_rejected = self.parameters == ParameterPolicy::Reject
            && (has_empty(&content.query) || has_form && has_empty(&content.form));
        let has_bytes = !spelled(&content.form, &content.spelling).is_empty();
        let has_no_parameters =
            self.kind == Kind::FormWithoutDigest && has_bytes && super::meaning(&content.form).is_empty();
        (is_rejected || has_no_parameters).then_some("malformed_parameters")
    }

    /// The parameters that the service gets, for parameters sent in this spelling.
    fn delivered(&self, parameters: &str) -> String {
        if self.parameters == ParameterPolicy::Canonicalize {
            return rig::canonical_parameters(parameters);
        }
        let is_signed =
            |piece: &&str| piece.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty());
        parameters.split('&').filter(is_signed).collect::<Vec<_>>().join("&")
    }

    fn check_accepted_once(&self, content: &Content) -> Result<(), TestCaseError> {
        let sent = self.reference_request(content);
        let verifier = self.verifier(&sent);
        let request = with_length(sent.signed());
        let verified = match block_on(rig::verify(&verifier, request.clone())) {
            Ok(verified) => verified,
            Err(rejection) => {
                prop_assert_eq!(Some(rejection.kind().code()), self.expected_rejection(content), "{}", rejection);
                return Ok(());
            }
        };
        prop_assert_eq!(None, self.expected_rejection(content));
        prop_assert_eq!(verified.method().as_str(), content.method);
        prop_assert_eq!(verified.uri().path(), &content.path);
        let query = sent.target.split_once('?').map_or("", |(_, query)| query);
        prop_assert_eq!(verified.uri().query().unwrap_or_default(), self.delivered(query));
        let caller = verified.extensions().get::<Caller>().unwrap().clone();
        prop_assert_eq!(caller.app_id().as_str(), "demo");
        prop_assert_eq!(caller.token().map(|token| token.expose()), content.token.as_deref());
        prop_assert_eq!(caller.nonce().unwrap().as_str(), &sent.nonce);
        let length = verified.headers()["content-length"].to_str().unwrap().to_owned();
        let body = block_on(rig::bytes(verified.into_body()));
        prop_assert_eq!(length, body.len().to_string());
        match self.kind {
            Kind::FormWithoutDigest => {
                let form = String::from_utf8(sent.body.clone()).unwrap();
                prop_assert_eq!(body, self.delivered(&form));
            }
            _ => prop_assert_eq!(&body, &sent.body),
        }
        prop_assert_eq!(block_on(rig::code(&verifier, request)), "replayed_nonce");
        Ok(())
    }

    /// The crate's signer produces the same signature, and the request is accepted.
    fn check_signer_matches(&self, content: &Content) -> Result<(), TestCaseError> {
        if matches!(self.kind, Kind::FormWithoutDigest | Kind::EmptyFormWithoutDigest) {
            return Ok(());
        }
        let sent = self.reference_request(content);
        let request = sent.signed_by_the_crate();
        let query = request.uri().query().unwrap_or_default();
        let sign = request.headers().get("x-sign").map_or(query, |sign| sign.to_str().unwrap());
        prop_assert!(sign.ends_with(&sent.sign_of(&sent.lines())));
        let code = block_on(rig::code(&self.verifier(&sent), request.clone()));
        prop_assert_eq!(code, self.expected_rejection(content).unwrap_or("accepted"));
        Ok(())
    }
}

fn with_length(mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    let length = request.body().len();
    request.headers_mut().insert("content-length", length.into());
    request
}

fn in_every_setup(holds: impl Fn(&Setup, &Content) -> Result<(), TestCaseError>) {
    for setup in setups() {
        let mut runner = TestRunner::new(Config { cases: 8, ..Config::default() });
        runner.run(&contents(), |content| holds(&setup, &content)).unwrap_or_else(|error| panic!("{setup:?}: {error}"));
    }
}

#[test]
fn reference_signed_requests_are_accepted_once() {
    in_every_setup(Setup::check_accepted_once);
}

#[test]
fn signer_matches_the_reference_implementation() {
    in_every_setup(Setup::check_signer_matches);
}
