//! Tokens, grants and their owners. `text` and `grant` have the texts of tokens and of grants, whose common `form` contains
//! the `tag` of an `owner`. A `reference` stands for such a text in a store.

mod form;
mod grant;
#[cfg(feature = "tokens")]
mod owner;
#[cfg(feature = "tokens")]
mod reference;
#[cfg(feature = "server")]
mod tag;
#[cfg(feature = "tokens")]
mod text;

pub use self::grant::GrantToken;
#[cfg(feature = "server")]
pub use self::tag::OwnerTag;
#[cfg(feature = "tokens")]
pub use self::{
    owner::{Device, Owner, OwnerKey, Subject},
    reference::{RecordKind, TokenRef},
    text::RenewalSeed,
};

#[cfg(all(test, feature = "tokens"))]
#[allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use serde_json::Value;

    use super::*;
    use crate::protocol::{
        field::value::{AppId, Token},
        key::{app_key::Key, secret::Secret},
    };

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../tests/vectors/tokens.json")).unwrap()
    }

    fn text(value: &Value) -> &str {
        value.as_str().unwrap()
    }

    fn bytes<const N: usize>(value: &Value) -> [u8; N] {
        let mut bytes = [0; N];
        hex::decode_to_slice(text(value), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn owner_tags_are_those_of_the_examples() {
        let Value::Object(example) = &vectors()["token"] else { panic!("an object") };
        let key = OwnerKey::new(text(&example["owner_key"])).unwrap();
        let user = Owner::User(text(&example["owner_id"]).parse().unwrap());
        let app = Owner::App(text(&example["app_owner_id"]).parse().unwrap());
        assert_eq!(*key.tag(&user).as_bytes(), bytes::<16>(&example["owner_tag_hex"]));
        assert_eq!(*key.tag(&app).as_bytes(), bytes::<16>(&example["app_owner_tag_hex"]));
        assert_eq!(key.id(), bytes::<4>(&vectors()["owner_key_id"]["id"]));
    }

    #[test]
    fn token_texts_are_those_of_the_examples() {
        let example = &vectors()["token"];
        let owner = OwnerTag::from_bytes(bytes(&example["owner_tag_hex"]));
        let token = Token::issued(&owner, &bytes(&example["random_hex"]));
        assert_eq!(token.expose(), text(&example["token"]));
        let at = TokenRef::of(&token).unwrap();
        assert_eq!((at.owner(), *at.digest()), (&owner, bytes(&example["stored_sha256"])));

        let renewal = &vectors()["renewal"];
        let old: Token = text(&renewal["token"]).parse().unwrap();
        let seed = RenewalSeed::from_bytes(bytes(&renewal["seed_hex"]));
        let owner = *TokenRef::of(&old).unwrap().owner();
        assert_eq!(old.successor(&owner, &seed).expose(), text(&renewal["successor"]));
    }

    #[test]
    fn grants_are_those_of_the_examples() {
        let vectors = vectors();
        let example = &vectors["grant"];
        let grant: GrantToken = text(&example["grant"]).parse().unwrap();
        let at = TokenRef::of_grant(&grant);
        assert_eq!((at.kind(), *at.digest()), (RecordKind::Grant, bytes(&example["stored_sha256"])));
        assert_eq!(*at.owner().as_bytes(), bytes::<16>(&vectors["token"]["owner_tag_hex"]));
        let random = &text(&example["grant"])[28..];
        let mut bytes = [0; 32];
        Base64UrlUnpadded::decode(random, &mut bytes).unwrap();
        assert_eq!(GrantToken::issued(at.owner(), &bytes).unwrap().expose(), grant.expose());
    }

    #[test]
    fn other_texts_are_no_grants() {
        let vectors = vectors();
        let valid = text(&vectors["grant"]["grant"]).to_owned();
        assert!(GrantToken::parse(valid.as_bytes()).is_ok());
        for text in [
            text(&vectors["token"]["token"]).to_owned(),
            String::new(),
            valid.replace("cs1g_", "cs1_"),
            valid.replace("cs1g_", "cs2g_"),
            valid[..valid.len() - 1].to_owned(),
            format!("{valid}A"),
            format!("{}.{}", &valid[..27], &valid[28..]),
            format!("{}A{}", &valid[..27], &valid[28..]),
            valid.replace('Q', "+"),
            valid.replace('Q', "="),
            // Bits that no tag has.
            format!("{}B{}", &valid[..26], &valid[27..]),
        ] {
            let error = GrantToken::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("grant: expected cs1g_, 22 of"), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn grant_and_token_are_never_confused(tag: [u8; 16], random: [u8; 32]) {
            let owner = OwnerTag::from_bytes(tag);
            let (token, grant) = (Token::issued(&owner, &random), GrantToken::issued(&owner, &random).unwrap());
            assert!(GrantToken::parse(token.expose().as_bytes()).is_err());
            let presented: Token = grant.expose().parse().unwrap();
            assert!(TokenRef::of(&presented).is_none());
            let (token, grant) = (TokenRef::of(&token).unwrap(), TokenRef::of_grant(&grant));
            assert_eq!((token.owner(), grant.owner()), (&owner, &owner));
            assert_ne!(token.digest(), grant.digest());
        }
    }

    #[test]
    fn session_keys_are_those_of_the_examples() {
        let vectors = vectors();
        let example = &vectors["session_key"];
        let app: AppId = text(&vectors["app_id"]).parse().unwrap();
        let token: Token = text(&example["token"]).parse().unwrap();
        let key = Key::from(Secret::new(text(&vectors["key"])).unwrap());
        let session_key = key.session_key(text(&example["audience"]), &app, &token);
        assert_eq!(session_key.bytes(), text(&example["session_key"]).as_bytes());
    }

    #[test]
    fn other_texts_are_no_references() {
        let valid = text(&vectors()["token"]["token"]).to_owned();
        assert!(TokenRef::of(&valid.parse().unwrap()).is_some());
        let random = &valid[27..];
        for text in [
            "tok_1".to_owned(),
            valid.replace("cs1_", "cs2_"),
            valid[..valid.len() - 1].to_owned(),
            format!("{valid}A"),
            format!("cs1_{}.{random}", &valid[4..26]),
            format!("cs1_{}_{random}", "+".repeat(22)),
            format!("{}{}", &valid[..27], random.replace('A', "=")),
            // Bits that no tag has.
            format!("cs1_{}B_{random}", &valid[4..25]),
        ] {
            assert!(TokenRef::of(&text.parse().unwrap()).is_none(), "{text}");
        }
    }
}
