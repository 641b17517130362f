//! Links that were changed at random, against the reference implementation of PROTOCOL.md. The fuzz target `links` does the same
//! with more settings.

use countersign::{FieldLocation, LinkScheme, Scheme};
use http::{Method, Request, Uri};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{link_by, verifier_of};
use crate::{
    reference::links::{Opening, Policy, Settings, Verdict, judge},
    rig::{self, KEY, NOW},
};

/// Segments that are added to a link.
const PIECES: [&str; 12] = [
    "utm_source=x",
    "utm%5Fsource=%zz",
    "a=2",
    "a=",
    "b=%zz",
    "expires=60",
    "%65xpires=60",
    "grant=x",
    "token=t",
    "nonce=nonce-1",
    "amp;sign=0",
    "sign=0",
];

#[derive(Clone, Debug)]
enum Change {
    /// Replaces a byte.
    Byte(usize, char),
    Add(&'static str),
    Remove(usize),
    Swap(usize, usize),
    Double(usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<usize>(), select("019afAF%&=+;?/".chars().collect::<Vec<_>>()))
            .prop_map(|(at, to)| Change::Byte(at, to)),
        select(PIECES.to_vec()).prop_map(Change::Add),
        any::<usize>().prop_map(Change::Remove),
        any::<(usize, usize)>().prop_map(|(one, other)| Change::Swap(one, other)),
        any::<usize>().prop_map(Change::Double),
    ];
    vec(change, 0..4)
}

fn changed(link: &str, changes: &[Change]) -> String {
    let mut link = link.to_owned();
    for change in changes {
        let (path, query) = link.split_once('?').unwrap_or((&link, ""));
        let mut pieces: Vec<&str> = query.split('&').collect();
        let count = pieces.len();
        match *change {
            Change::Byte(at, to) => {
                let at = at % link.len();
                link.replace_range(at..=at, &to.to_string());
                continue;
            }
            Change::Add(piece) => pieces.push(piece),
            Change::Remove(at) => drop(pieces.remove(at % count)),
            Change::Swap(one, other) => pieces.swap(one % count, other % count),
            Change::Double(at) => pieces.push(pieces[at % count]),
        }
        link = format!("{path}?{}", pieces.join("&"));
    }
    link
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn changed_link_is_judged_as_the_reference_does(
        changes in changes(),
        location in select(vec![FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either]),
        is_left_out: bool,
        later in select(vec![0, 3599, 3600]),
        method in select(vec![Method::GET, Method::HEAD, Method::POST]),
    ) {
        let without: &[&'static str] = if is_left_out { &["utm_source"] } else { &[] };
        let links = LinkScheme::new().without(without.iter().copied());
        let scheme = Scheme::new().with_field_location(location).with_links(links).unwrap();
        let signed = link_by(&rig::signer_of(scheme.clone()), "/orders/17?a=1&b=%7e+1&a=2");
        let link = changed(&signed, &changes);
        let Some(uri) = link.parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/')) else { return Ok(()) };
        let verifier = verifier_of(scheme);
        let clock = countersign::clock::ManualClock::at(NOW - 3600);
        let verifier = verifier.with_clock(clock.clone());
        clock.advance(std::time::Duration::from_secs(3600 + later));
        let request = Request::builder().method(method.clone()).uri(&uri).body("").unwrap();
        let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(rig::verify(&verifier, request));
        let settings = Settings {
            audience: "",
            expires: "expires",
            grant: "grant",
            without,
            takes_query: location != FieldLocation::Headers,
            is_persistent: true,
            policy: Policy::Stripped,
            keys: &[("demo", KEY)],
            grants: &[],
        };
        let opening = Opening {
            method: method.as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default().as_bytes(),
            has_field_header: false,
            is_prefetch: false,
            now: NOW + later,
        };
        match (found, judge(&settings, &opening)) {
            (Ok(request), Verdict::Opened { query, .. }) => {
                prop_assert_eq!(request.uri().query().unwrap_or_default().as_bytes(), query, "{}", link);
            }
            (Err(rejection), Verdict::NoLink) => prop_assert!(rejection.link().is_none(), "{} {}", rejection, link),
            (Err(rejection), Verdict::Rejected(expected)) => {
                let (code, field) = (rejection.kind().code(), rejection.field().unwrap_or_default());
                let is_expected = expected.iter().any(|(other, name)| *other == code && (name.is_empty() || name == field));
                prop_assert!(is_expected, "{} {}, expected {:?}: {}", code, field, expected, link);
            }
            (found, expected) => prop_assert!(false, "{:?}, expected {:?}: {}", found.map(|_| "opened"), expected, link),
        }
    }
}
