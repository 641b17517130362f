//! The options for what client and service configure alike.

use clap::{Args, ValueEnum};
use countersign::{FieldLocation, Scheme, TokenLocation};
use http::HeaderName;

/// The message for a wrong prefix. It does not repeat the value, which may be a secret that belongs to another option.
pub(crate) const PREFIX: &str =
    "--prefix: expected a path that starts with / and does not end with it, /api for example";

/// The options of a scheme.
#[derive(Args)]
#[command(next_help_heading = "Configuration of both ends")]
pub(crate) struct SchemeOptions {
    /// The name of the service that requests are for
    #[arg(long, value_name = "TEXT", default_value = "")]
    audience: String,
    /// Where the fields are sent
    #[arg(long, value_enum, default_value_t = CarrierArgument::Headers)]
    carrier: CarrierArgument,
    /// Where the token is sent: field, bearer, cookie:NAME or field-or-cookie:NAME
    #[arg(long, value_name = "PLACE", default_value = "field")]
    token_place: String,
    /// A header that is signed too; repeatable
    #[arg(long, value_name = "NAME")]
    signed_header: Vec<HeaderName>,
    /// A header of responses that their signature covers too; repeatable
    #[arg(long, value_name = "NAME")]
    signed_response_header: Vec<HeaderName>,
    /// A header whose value is secret; repeatable
    #[arg(long, value_name = "NAME")]
    sensitive_header: Vec<HeaderName>,
}

#[derive(Clone, Copy, ValueEnum)]
enum CarrierArgument {
    Headers,
    Query,
    Either,
}

impl SchemeOptions {
    /// The scheme, or a message that names the option.
    pub(crate) fn scheme(&self) -> Result<Scheme, String> {
        let scheme = Scheme::new()
            .with_audience(&*self.audience)
            .map_err(|error| format!("--audience: {error}"))?
            .with_token_location(token_location(&self.token_place)?)
            .map_err(|_| "--token-place: expected the name of a cookie after cookie:".to_owned())?
            .with_signed_headers(self.signed_header.iter().cloned())
            .map_err(|error| format!("--signed-header: {error}"))?
            .with_signed_response_headers(self.signed_response_header.iter().cloned())
            .map_err(|error| format!("--signed-response-header: {error}"))?
            .with_sensitive_headers(self.sensitive_header.iter().cloned());
        Ok(scheme.with_field_location(match self.carrier {
            CarrierArgument::Headers => FieldLocation::Headers,
            CarrierArgument::Query => FieldLocation::Query,
            CarrierArgument::Either => FieldLocation::Either,
        }))
    }
}

fn token_location(text: &str) -> Result<TokenLocation, String> {
    match text.split_once(':') {
        None if text == "field" => Ok(TokenLocation::Field),
        None if text == "bearer" => Ok(TokenLocation::Bearer),
        Some(("cookie", name)) => Ok(TokenLocation::Cookie(name.to_owned())),
        Some(("field-or-cookie", name)) => Ok(TokenLocation::FieldOrCookie(name.to_owned())),
        _ => Err("--token-place: expected field, bearer, cookie:NAME or field-or-cookie:NAME".to_owned()),
    }
}
