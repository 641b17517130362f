//! Tokens and their owners: the `text` of a token, and the `owner` tag in it.

#[cfg(feature = "tokens")]
mod owner;
mod tag;
#[cfg(feature = "tokens")]
mod text;

pub use self::tag::OwnerTag;
#[cfg(feature = "tokens")]
pub use self::{
    owner::{Device, Owner, OwnerKey, Subject},
    text::{RenewalSeed, TokenRef},
};

#[cfg(all(test, feature = "tokens"))]
#[allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
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
