//! The protocol's worked examples of `tests/vectors`.

use countersign::{Payload, Scheme, Secret, Signer};
use http::{HeaderName, Request};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) content_type: Option<String>,
    pub(crate) body: String,
    pub(crate) audience: String,
    pub(crate) signed_headers: Vec<(String, Option<String>)>,
    pub(crate) app_id: String,
    pub(crate) token: String,
    pub(crate) key: String,
    pub(crate) timestamp: String,
    pub(crate) nonce: String,
    pub(crate) body_digest: String,
    pub(crate) string_to_sign: String,
    pub(crate) sign: String,
}

impl Case {
    pub(crate) fn scheme(&self) -> Scheme {
        let names = self.signed_headers.iter().map(|(name, _)| HeaderName::from_bytes(name.as_bytes()).unwrap());
        Scheme::new().with_audience(&*self.audience).unwrap().with_signed_headers(names).unwrap()
    }

    pub(crate) fn signer(&self) -> Signer {
        let signer = Signer::new(self.app_id.parse().unwrap(), Secret::new(&*self.key).unwrap());
        let signer = signer.with_scheme(self.scheme());
        match self.token.as_str() {
            "" => signer,
            token => signer.with_token(token.parse().unwrap()),
        }
    }

    /// The request without signature fields.
    pub(crate) fn request(&self) -> Request<String> {
        let mut request = Request::builder().method(&*self.method).uri(&*self.target);
        if let Some(content_type) = &self.content_type {
            request = request.header("content-type", content_type);
        }
        for (name, value) in &self.signed_headers {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request.body(self.body.clone()).unwrap()
    }

    /// The request as a client sends it that uses only the values of the example.
    pub(crate) fn sent(&self) -> Request<String> {
        let mut request = self.request();
        let fields = [
            ("x-app-id", &self.app_id),
            ("x-timestamp", &self.timestamp),
            ("x-nonce", &self.nonce),
            ("x-token", &self.token),
            ("x-content-sha256", &self.body_digest),
            ("x-sign", &self.sign),
        ];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    }

    fn is_form(&self) -> bool {
        self.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    }

    /// Whether signers produce exactly this request. Signers send a digest with every body and form.
    pub(crate) fn is_signer_output(&self) -> bool {
        self.body_digest.is_empty() == (self.body.is_empty() && !self.is_form())
    }

    pub(crate) fn payload(&self) -> Payload<'_> {
        match (&*self.body, &*self.body_digest) {
            ("", digest) if !digest.is_empty() && !self.is_form() => Payload::Digest(digest.parse().unwrap()),
            (body, _) => Payload::Bytes(body.as_bytes()),
        }
    }
}

/// All worked examples.
pub(crate) fn cases() -> Vec<Case> {
    let files = [include_str!("../vectors/requests.json"), include_str!("../vectors/more_requests.json")];
    files.into_iter().flat_map(|file| serde_json::from_str::<File>(file).unwrap().cases).collect()
}
