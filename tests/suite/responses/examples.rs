//! The worked examples of signed responses.

use countersign::{Payload, Scheme, Secret, SentRequest, Signer, Timestamp};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use serde::Deserialize;

use crate::reference::{response::SignedResponse, string::hmac_sha256};

#[derive(Deserialize)]
struct Examples {
    key: String,
    app_id: String,
    responses: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    note: String,
    session_key: String,
    request_sign: String,
    status: u16,
    headers: Vec<(String, String)>,
    signed_response_headers: Vec<String>,
    body: String,
    timestamp: String,
    string_to_sign: String,
    sign: String,
}

fn examples() -> Examples {
    serde_json::from_str(include_str!("../../vectors/responses.json")).unwrap()
}

impl Example {
    fn signer(&self, Examples { key, app_id, .. }: &Examples) -> Signer {
        let names = self.signed_response_headers.iter().map(|name| name.parse().unwrap());
        let scheme = Scheme::new().with_signed_response_headers(names).unwrap();
        let app_id = app_id.parse().unwrap();
        let signer = match &*self.session_key {
            "" => Signer::new(app_id, Secret::new(&**key).unwrap()),
            session => Signer::for_session(app_id, "tok".parse().unwrap(), Secret::new(session).unwrap()),
        };
        signer.with_scheme(scheme)
    }

    fn sent(&self, signer: &Signer) -> SentRequest {
        let request = Request::get("/").header("x-app-id", "demo").header("x-timestamp", "1700000000");
        let request = request.header("x-nonce", "nonce-1").header("x-sign", &self.request_sign);
        signer.sent_request(&request.body(()).unwrap().into_parts().0).unwrap()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn timestamp(&self) -> Timestamp {
        self.timestamp.parse().unwrap()
    }
}

#[test]
fn signers_reproduce_the_responses() {
    let examples = examples();
    assert!(examples.responses.len() >= 4);
    for example in &examples.responses {
        let (signer, status) = (example.signer(&examples), StatusCode::from_u16(example.status).unwrap());
        let (sent, mut headers) = (example.sent(&signer), example.headers());
        let body = Payload::Bytes(example.body.as_bytes());
        signer.sign_response_at(&sent, status, &mut headers, body, example.timestamp()).unwrap();
        assert_eq!(headers["x-response-sign"], example.sign, "{}", example.note);
        assert_eq!(headers["x-response-timestamp"], example.timestamp);
        assert!(example.string_to_sign.contains(headers["x-response-content-sha256"].to_str().unwrap()));
        signer.check_response_at(&sent, status, &headers, body, example.timestamp()).unwrap();
    }
}

#[test]
fn the_reference_reproduces_the_responses() {
    let Examples { key, app_id, responses } = examples();
    for example in responses {
        let headers: Vec<(String, Vec<u8>)> =
            example.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        let further: Vec<&str> = example.signed_response_headers.iter().map(|name| &**name).collect();
        let response = SignedResponse {
            status: example.status,
            headers: &headers,
            body: example.body.as_bytes(),
            further: &further,
            app: &app_id,
            request_sign: &example.request_sign,
            timestamp: &example.timestamp,
        };
        let (mac_key, key_line) = match &*example.session_key {
            "" => (&*key, &*key),
            session => (session, "session"),
        };
        let string = response.string(key_line).unwrap();
        assert_eq!(String::from_utf8(string.clone()).unwrap(), example.string_to_sign.replace("{key}", &key));
        assert_eq!(hmac_sha256(mac_key, &string), example.sign, "{}", example.note);
    }
}
