use std::{collections::HashMap, str::FromStr, sync::Arc, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use bytes::Bytes;
use chrono::Utc;
use futures_util::FutureExt;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use scratchstack_aws_signature::{
    GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, KSigningKey, NO_ADDITIONAL_SIGNED_HEADERS,
    SignatureOptions, sigv4_validate_request,
};
use tower::{BoxError, service_fn};

use crate::peer::{Peer, Replays, random};

/// The keys have the length of AWS's keys.
const ACCESS_KEY: &str = "AKIDEXAMPLE";
const SECRET_KEY: &str = "0123456789abcdef0123456789abcdef01234567";

const REGION: &str = "us-east-1";
const SERVICE: &str = "orders";

/// The daily signing keys by access key.
type Keys = Arc<HashMap<String, Vec<(chrono::NaiveDate, KSigningKey)>>>;

pub(crate) struct SigV4 {
    credentials: Credentials,
    keys: Keys,
    replays: Replays,
}

impl SigV4 {
    pub(crate) fn new() -> Self {
        let today = Utc::now().date_naive();
        let of_a_day = |day| (day, KSecretKey::from_str(SECRET_KEY).unwrap().to_ksigning(day, REGION, SERVICE));
        let days = [Some(today), today.succ_opt()].into_iter().flatten().map(of_a_day).collect();
        Self {
            credentials: Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "bench"),
            keys: Arc::new(HashMap::from([(ACCESS_KEY.to_owned(), days)])),
            replays: Replays::new(),
        }
    }
}

impl Peer for SigV4 {
    const NAME: &'static str = "aws-sigv4 1.6.4, scratchstack-aws-signature 0.11.4";
    const SIGNED: &'static str = "method, path, query, headers, body, time";
    const REPLAYS: &'static str = Replays::NAME;

    type Signed = Request<Bytes>;
    type Received = Request<Bytes>;
    type Verified = Request<Bytes>;

    fn sign(&self, mut request: Request<Bytes>) -> Self::Signed {
        request.headers_mut().insert("amz-sdk-invocation-id", HeaderValue::try_from(random()).unwrap());
        let identity = self.credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let target = request.uri().path_and_query().unwrap().as_str();
        let body = SignableBody::Bytes(request.body());
        let signable = SignableRequest::new(request.method().as_str(), target, headers, body).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    fn send(signed: Self::Signed) -> Request<Bytes> {
        signed
    }

    fn receive(request: Request<Bytes>) -> Self::Received {
        request
    }

    fn verify(&self, request: Self::Received) -> Option<Self::Verified> {
        let keys = self.keys.clone();
        let mut look_up = service_fn(move |request_for_key| std::future::ready(signing_key(&keys, &request_for_key)));
        let validated = sigv4_validate_request(
            request,
            REGION,
            SERVICE,
            &mut look_up,
            Utc::now(),
            &NO_ADDITIONAL_SIGNED_HEADERS,
            SignatureOptions::default(),
        );
        // The future never waits.
        let (parts, body, _) = validated.now_or_never().unwrap().ok()?;
        let (_, signature) = parts.headers[AUTHORIZATION].to_str().ok()?.rsplit_once("Signature=")?;
        let first = self.replays.is_first(signature.to_owned());
        first.then(|| Request::from_parts(parts, body))
    }
}

fn signing_key(keys: &Keys, request_for_key: &GetSigningKeyRequest) -> Result<GetSigningKeyResponse, BoxError> {
    let days = keys.get(request_for_key.access_key()).ok_or("no such key")?;
    let (_, key) = days.iter().find(|(day, _)| *day == request_for_key.request_date()).ok_or("no key of that day")?;
    Ok(GetSigningKeyResponse::builder().signing_key(*key).build()?)
}
