//! Random links: each is opened as it was signed, and what was a link is never a request, nor the reverse.

use countersign::{Caller, FieldLocation, LinkScheme, Scheme};
use http::Request;
use proptest::{collection::vec, prelude::*, sample::select};

use super::{link_by, one_time_link, verifier_of};
use crate::{
    reference::string::hmac_sha256,
    rig::{self, KEY, NOW},
};

fn targets() -> impl Strategy<Value = String> {
    let parameter = ("[a-z%]{1,3}", "[a-zA-Z0-9~+_.-]{1,8}").prop_map(|(name, value)| {
        // No parameter of the protocol has a name of fewer than four letters.
        format!("{}={value}", name.replace('%', "%41"))
    });
    ("/[a-zA-Z0-9;~_-]{0,12}", vec(parameter, 0..5)).prop_map(|(path, query)| match query.is_empty() {
        true => path,
        false => format!("{path}?{}", query.join("&")),
    })
}

fn locations() -> impl Strategy<Value = FieldLocation> {
    select(vec![FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either])
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The name and value of each parameter.
fn parameters(link: &str) -> Vec<(String, String)> {
    let (_, query) = link.split_once('?').unwrap();
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

const FIELDS: [(&str, &str); 4] =
    [("appId", "x-app-id"), ("timestamp", "x-timestamp"), ("nonce", "x-nonce"), ("sign", "x-sign")];

/// The URL of a link without these parameters.
fn without(link: &str, left_out: &[&str]) -> String {
    let (path, _) = link.split_once('?').unwrap();
    let kept: Vec<_> = parameters(link)
        .into_iter()
        .filter(|(name, _)| !left_out.contains(&&**name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

proptest! {
    #[test]
    fn link_is_opened_as_it_was_signed(target in targets(), audience in "[a-z.]{0,9}") {
        let scheme = Scheme::new().with_links(LinkScheme::new().with_audience(&*audience).unwrap()).unwrap();
        let link = link_by(&rig::signer_of(scheme.clone()), &target);
        // The string to sign, made by hand.
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = rig::canonical_parameters(&format!("{query}&expires=3600"));
        let string = format!("CS1-PRESIGNED\nGET\n{audience}\n{path}\n{query}\n\n\n\ndemo\n\n{KEY}\n{NOW}\n");
        prop_assert!(link.ends_with(&format!("&sign={}", hmac_sha256(KEY, string.as_bytes()))), "{} {}", link, string);
        let opened = block_on(super::open(&verifier_of(scheme), &link)).unwrap();
        prop_assert_eq!(opened.uri().to_string(), target);
        prop_assert!(opened.extensions().get::<Caller>().unwrap().link().is_some());
    }

    #[test]
    fn link_is_never_a_request(target in targets(), location in locations(), once in any::<bool>()) {
        let link = if once { one_time_link(&target) } else { super::link(&target) };
        let values = parameters(&link);
        let value = |name: &str| values.iter().find(|(other, _)| other == name).map_or("nonce-x", |(_, value)| value);
        let scheme = Scheme::new().with_field_location(location);
        let fields = FIELDS.map(|(name, _)| name);
        let mut requests = vec![];
        for left_out in [&["expires"][..], &[], &fields, &[&fields[..], &["expires"]].concat()] {
            let url = without(&link, left_out);
            let with_headers = FIELDS.iter().fold(Request::get(&url), |request, (name, header)| {
                request.header(*header, value(name))
            });
            requests.push(with_headers.body("").unwrap());
            let separator = if url.contains('?') { '&' } else { '?' };
            requests.push(rig::get(&format!("{url}{separator}nonce=nonce-x")));
            if left_out.contains(&"expires") {
                requests.push(rig::get(&url));
            }
        }
        for request in requests {
            let shown = format!("{request:?}");
            prop_assert_ne!(block_on(rig::code(&verifier_of(scheme.clone()), request)), "accepted", "{}", shown);
        }
    }

    #[test]
    fn request_is_never_a_link(target in targets(), signed_in in locations(), taken_from in locations()) {
        let signer = rig::signer_of(Scheme::new().with_field_location(signed_in));
        let request = rig::signed_by(&signer, NOW, rig::get(&target));
        let mut query: Vec<_> =
            request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
        for (name, header) in FIELDS {
            if let Some(value) = request.headers().get(header) {
                query.push(format!("{name}={}", value.to_str().unwrap()));
            }
        }
        let verifier = verifier_of(Scheme::new().with_field_location(taken_from));
        for (expires, nonce) in [(true, true), (true, false)] {
            let mut query: Vec<_> =
                query.iter().filter(|pair| nonce || !pair.starts_with("nonce=")).cloned().collect();
            if expires {
                query.push("expires=3600".to_owned());
            }
            let link = format!("{}?{}", request.uri().path(), query.join("&"));
            prop_assert_eq!(block_on(super::code(&verifier, &link)), "invalid_signature", "{}", link);
        }
    }
}
