//! The settings of signer and verifier.

use arbitrary::Arbitrary;
use countersign::{FieldLocation, ParameterPolicy, Scheme, TokenLocation};
use http::{HeaderName, header};

/// The name of the token cookie.
pub const COOKIE: &str = "session";

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Config {
    carrier: u8,
    token_location: u8,
    parameters: u8,
    pub audience: bool,
    pub signed_headers: bool,
}

impl Config {
    pub fn field_location(&self) -> FieldLocation {
        [FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either][usize::from(self.carrier % 3)]
    }

    pub fn token_location(&self) -> TokenLocation {
        let cookie = || TokenLocation::Cookie(COOKIE.to_owned());
        [|| TokenLocation::Field, || TokenLocation::Bearer, cookie][usize::from(self.token_location % 3)]()
    }

    pub fn parameters(&self) -> ParameterPolicy {
        [ParameterPolicy::Strip, ParameterPolicy::Canonicalize, ParameterPolicy::Reject]
            [usize::from(self.parameters % 3)]
    }

    pub fn scheme(&self) -> Scheme {
        let signed = [header::HOST, HeaderName::from_static("x-extra")];
        Scheme::new()
            .with_field_location(self.field_location())
            .with_token_location(self.token_location())
            .and_then(|scheme| scheme.with_audience(if self.audience { "api" } else { "" }))
            .and_then(|scheme| scheme.with_signed_headers(signed.into_iter().filter(|_| self.signed_headers)))
            .unwrap()
    }
}
