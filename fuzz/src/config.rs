//! How both ends are set up.

use arbitrary::Arbitrary;
use countersign::{Carrier, Parameters, Scheme, TokenPlace};
use http::{HeaderName, header};

/// The cookie that a token may travel in.
pub const COOKIE: &str = "session";

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Config {
    carrier: u8,
    token_place: u8,
    parameters: u8,
    pub audience: bool,
    pub signed_headers: bool,
}

impl Config {
    pub fn carrier(&self) -> Carrier {
        [Carrier::Headers, Carrier::Query, Carrier::Either][usize::from(self.carrier % 3)]
    }

    pub fn token_place(&self) -> TokenPlace {
        let cookie = || TokenPlace::Cookie(COOKIE.to_owned());
        [|| TokenPlace::Field, || TokenPlace::Bearer, cookie][usize::from(self.token_place % 3)]()
    }

    pub fn parameters(&self) -> Parameters {
        [Parameters::Stripped, Parameters::Signed, Parameters::RefuseEmpty][usize::from(self.parameters % 3)]
    }

    pub fn scheme(&self) -> Scheme {
        let signed = [header::HOST, HeaderName::from_static("x-extra")];
        Scheme::new()
            .with_carrier(self.carrier())
            .with_token_place(self.token_place())
            .and_then(|scheme| scheme.with_audience(if self.audience { "api" } else { "" }))
            .and_then(|scheme| scheme.with_signed_headers(signed.into_iter().filter(|_| self.signed_headers)))
            .unwrap()
    }
}
