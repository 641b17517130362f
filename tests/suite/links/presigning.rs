//! What a signer makes a link of, and what it refuses.

use std::time::Duration;

use countersign::{FieldLocation, LinkScheme, Payload, Scheme, Secret, SignErrorKind, Signer, clock::ManualClock};
use http::{Request, Uri};

use super::{HOUR, code, link, verifier};
use crate::rig::{self, NOW};

fn refusal(signer: &Signer, uri: &str, lifetime: Duration) -> (SignErrorKind, String) {
    let uri: Uri = uri.parse().unwrap();
    let error = signer.presign(&uri, lifetime).sign_at(NOW.try_into().unwrap(), None).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn rewritten_paths_are_refused() {
    for (path, advice) in [
        ("/a\\b", "%5C"),
        ("/a//b", "//"),
        ("//b", "//"),
        ("/a/./b", ". and .."),
        ("/a/..", ". and .."),
        ("/a/.", ". and .."),
        ("/%2e%2E/b", ". and .."),
        ("/.%2e", ". and .."),
        ("*", "*"),
    ] {
        let (kind, message) = refusal(&rig::signer(), path, HOUR);
        assert_eq!(kind, SignErrorKind::Url, "{path}: {message}");
        assert!(message.contains(advice), "{path}: {message}");
    }
    for path in ["/a/.b", "/a/...", "/a.b/c..", "/%2e%2ex", "/a%2F%2Fb"] {
        link(path);
    }
}

#[test]
fn parameters_of_the_protocol_are_refused() {
    let scheme = Scheme::new().with_links(LinkScheme::new().without(["fbclid"])).unwrap();
    for name in ["appId", "timestamp", "nonce", "token", "sign", "expires", "grant", "fbclid", "%65xpires"] {
        let (kind, message) = refusal(&rig::signer_of(scheme.clone()), &format!("/p?a=1&{name}=1"), HOUR);
        assert_eq!(kind, SignErrorKind::Malformed, "{name}: {message}");
        assert!(message.contains(&name.replace("%65", "e")), "{name}: {message}");
    }
    for query in ["a=", "=1", "a", "a=1&&b=2", "a=%zz"] {
        let (kind, _) = refusal(&rig::signer(), &format!("/p?{query}"), HOUR);
        assert_eq!(kind, SignErrorKind::Malformed, "{query}");
    }
}

#[test]
fn lifetimes_are_one_second_to_seven_days() {
    for (lifetime, is_taken) in [
        (Duration::ZERO, false),
        (Duration::from_millis(999), false),
        (Duration::from_secs(1), true),
        (Duration::from_secs(604_800), true),
        (Duration::from_secs(604_801), false),
        (Duration::MAX, false),
    ] {
        let uri = Uri::from_static("/");
        let link = rig::signer().presign(&uri, lifetime).sign_at(NOW.try_into().unwrap(), None);
        assert_eq!(link.is_ok(), is_taken, "{lifetime:?}");
        if let Err(error) = link {
            assert!(error.to_string().contains("604800"), "{error}");
        }
    }
}

#[test]
fn session_keys_sign_no_links() {
    let signer = Signer::for_session("demo".parse().unwrap(), "tok_1".parse().unwrap(), rig::secret());
    assert_eq!(refusal(&signer, "/", HOUR).0, SignErrorKind::Key);
}

/// Browsers escape these characters, and not `'`, `|`, `[` or `]`, in a path.
#[tokio::test]
async fn what_browsers_escape_is_escaped() {
    for (uri, expected) in [
        ("/a\"b", "/a%22b?"),
        ("/{id}", "/%7Bid%7D?"),
        ("/a^b", "/a%5Eb?"),
        ("/caf\u{e9}?n=\u{e9}", "/caf%C3%A9?n=%C3%A9&"),
        ("/a'b|c[d]", "/a'b|c[d]?"),
        ("https://api.example.com", "https://api.example.com/?"),
        ("https://api.example.com?a=1", "https://api.example.com/?a=1&"),
        ("/p?", "/p?expires="),
    ] {
        let Ok(uri) = uri.parse::<Uri>() else {
            // `Uri` itself refuses some of them.
            continue;
        };
        let link = rig::signer().presign(&uri, HOUR).sign_at(NOW.try_into().unwrap(), None).unwrap();
        assert!(link.to_string().starts_with(expected), "{link}");
        assert!(link.to_string().split('&').next_back().unwrap().starts_with("sign="), "{link}");
        assert_eq!(code(&verifier().0, link.uri().path_and_query().unwrap().as_str()).await, "accepted", "{link}");
    }
}

#[tokio::test]
async fn clock_and_nonce_are_the_signers() {
    let signer = rig::signer().with_clock(ManualClock::at(NOW));
    let uri = Uri::from_static("/a");
    let link = signer.presign(&uri, HOUR).one_time().sign().unwrap();
    assert_eq!(link.expires_at(), NOW + 3600);
    assert!(link.to_string().contains("&timestamp=1700000000&nonce="), "{link}");
    let (verifier, _) = verifier();
    assert_eq!(code(&verifier, &link.to_string()).await, "accepted");
    assert_eq!(code(&verifier, &link.to_string()).await, "replayed_nonce");
    let other = signer.presign(&uri, HOUR).one_time().sign().unwrap();
    assert_eq!(code(&verifier, &other.to_string()).await, "accepted");
    let reusable = signer.presign(&uri, HOUR).sign().unwrap();
    assert!(!reusable.to_string().contains("nonce"), "{reusable}");
}

#[test]
fn debug_shows_no_link() {
    let uri = Uri::from_static("/a?secret=1");
    let presign = rig::signer();
    let presign = presign.presign(&uri, HOUR);
    assert!(!format!("{presign:?}").contains("secret"), "{presign:?}");
    let link = presign.sign_at(NOW.try_into().unwrap(), None).unwrap();
    assert!(!format!("{link:?}").contains("/a"), "{link:?}");
}

#[test]
fn requests_in_the_query_have_no_parameters_of_links() {
    for location in [FieldLocation::Query, FieldLocation::Headers] {
        let signer = rig::signer_of(Scheme::new().with_field_location(location));
        for target in ["/p?expires=1", "/p?grant=1", "/p?%65xpires=1"] {
            let (mut parts, ()) = Request::get(target).body(()).unwrap().into_parts();
            let signed = signer.sign_at(&mut parts, Payload::Bytes(b""), NOW.try_into().unwrap(), rig::fresh_nonce());
            assert_eq!(signed.is_err(), location == FieldLocation::Query, "{location:?} {target}");
        }
    }
}

#[test]
fn link_scheme_names_are_checked() {
    let scheme = |links| Scheme::new().with_links(links);
    assert!(scheme(LinkScheme::new().without(LinkScheme::TRACKING)).is_ok());
    for links in [
        LinkScheme::new().with_expires_name("sign"),
        LinkScheme::new().with_expires_name(""),
        LinkScheme::new().with_grant_name("expires"),
        LinkScheme::new().without(["token"]),
        LinkScheme::new().without(["expires"]),
        LinkScheme::new().without(["grant"]),
        LinkScheme::new().without([""]),
    ] {
        assert!(scheme(links.clone()).is_err(), "{links:?}");
    }
    // A later name of a field is checked too.
    let renamed = Scheme::new().with_parameter_name(countersign::Field::Sign, "expires");
    assert!(renamed.unwrap_err().to_string().contains("expires"));
    assert!(LinkScheme::new().with_audience("two words").is_err());
}

#[test]
fn keys_of_other_apps_sign_other_links() {
    let other = Signer::new("other".parse().unwrap(), Secret::new("ffffffffffffffffffffffffffffffff").unwrap());
    assert_ne!(super::link_by(&other, "/a"), link("/a"));
}
