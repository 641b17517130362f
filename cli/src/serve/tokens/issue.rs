//! Issuing and renewing.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use countersign::{
    Caller, Rejection, TokenLocation,
    token::{NewToken, Session},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    TokenService,
    answer::{Problem, set_cookie, with_cookie},
    body::{lifetime, parse},
};

/// The body of `POST /_tokens`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    user: Option<String>,
    device: Option<String>,
    ttl: Option<u64>,
    one_time: bool,
    bearer: bool,
    cookie: bool,
}

/// `POST /_tokens`.
pub(super) async fn issue(
    State(service): State<Arc<TokenService>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted = Wanted::parse(&headers, &body)?;
    let cookie = wanted.cookie_name(&service)?;
    let issued = service.tokens.issue(&caller, wanted.new_token()?).await?;
    let body = service.body(&caller, &issued, cookie.is_some()).await?;
    let cookie = cookie.map(|name| issued.cookie(name)).transpose();
    let cookie = cookie.map_err(|error| Problem::bad_request(format!("--token-place: {error}")))?;
    Ok(with_cookie(StatusCode::CREATED, cookie, body))
}

/// `POST /_tokens/renew`. A page sets its cookie with a second call, so that a lost answer leaves it with its old cookie and key.
pub(super) async fn renew(
    State(service): State<Arc<TokenService>>,
    caller: Caller,
    session: Session,
) -> Result<Response, Problem> {
    let Some(issued) = service.tokens.renew(&caller).await? else {
        return Err(match session.is_one_time() {
            true => Rejection::token_not_allowed("a token that is accepted once cannot be renewed"),
            false => Rejection::invalid_token(),
        }
        .into());
    };
    let body = service.body(&caller, &issued, caller.is_token_in_cookie()).await?;
    Ok(with_cookie(StatusCode::OK, None, body))
}

/// `POST /_tokens/renew/cookie`: the cookie of the successor, or of the token itself if there is none.
pub(super) async fn renew_cookie(
    State(service): State<Arc<TokenService>>,
    caller: Caller,
    session: Session,
) -> Result<Response, Problem> {
    let Some(name) = service.cookie_name().filter(|_| caller.is_token_in_cookie()) else {
        let detail =
            "this path needs the token in its cookie: otherwise a signed link could replace the cookie of a browser";
        return Err(Rejection::token_not_allowed(detail).into());
    };
    let cookie = match service.tokens.renewed(&caller).await? {
        Some(issued) => issued.cookie(name).ok(),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let left = session.expires_at().saturating_sub(now);
            caller.token().and_then(|token| set_cookie(name, token.expose(), left))
        }
    };
    Ok(with_cookie(StatusCode::OK, cookie, json!({})))
}

impl Wanted {
    fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        parse(headers, body, "some of user, device, ttl, one_time, bearer and cookie")
    }

    fn new_token(&self) -> Result<NewToken, Problem> {
        let invalid = |name: &str, error: &dyn std::fmt::Display| Problem::bad_request(format!("{name}: {error}"));
        let mut new = match &self.user {
            Some(user) => NewToken::for_user(user.parse().map_err(|error| invalid("user", &error))?),
            None => NewToken::for_app(),
        };
        if let Some(device) = &self.device {
            new = new.on(device.parse().map_err(|error| invalid("device", &error))?);
        }
        if let Some(seconds) = self.ttl {
            new = new.with_lifetime(lifetime(seconds)?);
        }
        match (self.one_time, self.bearer) {
            (true, true) => Err(invalid("one_time, bearer", &"expected at most one of the two")),
            (true, _) => Ok(new.one_time()),
            (_, true) => Ok(new.bearer()),
            _ => Ok(new),
        }
    }

    /// The name of the cookie for this token. A bearer token is never in a cookie.
    fn cookie_name<'s>(&self, service: &'s TokenService) -> Result<Option<&'s str>, Problem> {
        let is_always = matches!(service.scheme.token_location(), TokenLocation::Cookie(_));
        match (service.cookie_name(), self.cookie) {
            (None, true) => Err(Problem::bad_request(
                "cookie: expected a server with --token-place cookie:NAME or field-or-cookie:NAME",
            )),
            (Some(_), true) if self.bearer => {
                Err(Problem::bad_request("cookie, bearer: expected at most one of the two"))
            }
            (name, is_wanted) => Ok(name.filter(|_| is_wanted || (is_always && !self.bearer))),
        }
    }
}
