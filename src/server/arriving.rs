//! A body on its way in: read as late as possible, and checked against what was signed of it.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::body::RequestBody;
use crate::protocol::{BodyDigest, BoxError, Field, Rejection, RejectionKind, Scheme};

pub(super) enum Arriving<B> {
    /// Not a byte of it was asked for.
    Unread(B),
    /// A form, whose parameters are signed.
    Form(Bytes),
}

/// By what a signature binds a body.
#[derive(Debug)]
pub(super) enum Binding {
    /// By its SHA-256.
    Digest(BodyDigest),
    /// By its parameters: a form without a digest, as the service gets it.
    Parameters(Bytes),
    /// Not at all, so there must be none.
    Nothing,
}

impl<B> Arriving<B> {
    pub(super) fn form(&self) -> Option<&Bytes> {
        match self {
            Self::Form(bytes) => Some(bytes),
            Self::Unread(_) => None,
        }
    }
}

impl<B: RequestBody> Arriving<B> {
    /// Reads a form, up to its limit. Any other body waits until the request has proved itself.
    pub(super) async fn read_form(body: B, is_form: bool, limit: usize) -> Result<Self, Rejection> {
        match is_form {
            true => Ok(Self::Form(read(body, limit).await?)),
            false => Ok(Self::Unread(body)),
        }
    }

    /// The bytes for the service.
    pub(super) async fn check(self, binding: Binding, limit: usize, scheme: &Scheme) -> Result<Bytes, Rejection> {
        match (binding, self) {
            (Binding::Digest(digest), Self::Form(bytes)) => signed(bytes, digest),
            (Binding::Digest(digest), Self::Unread(body)) => signed(read(body, limit).await?, digest),
            (Binding::Parameters(form), _) => Ok(form),
            (Binding::Nothing, Self::Unread(body)) => read_nothing(body, scheme).await,
            (Binding::Nothing, Self::Form(_)) => Err(unsigned(scheme)),
        }
    }
}

fn signed(bytes: Bytes, digest: BodyDigest) -> Result<Bytes, Rejection> {
    if BodyDigest::of(&bytes) != digest {
        return Err(Rejection::new(
            RejectionKind::BodyMismatch,
            "the body is not the one whose SHA-256 was signed: hash the bytes that are sent, after every encoding",
        ));
    }
    Ok(bytes)
}

/// Reads a whole body; trailers are dropped.
///
/// A body in one frame is not copied. The frames of any other are, so that what is held is the bytes, and not the
/// frames, of which a caller can make one for each byte.
async fn read<B: RequestBody>(body: B, limit: usize) -> Result<Bytes, Rejection> {
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let data = match body.as_mut().frame().await {
            Some(frame) => frame.map_err(broken)?.into_data().unwrap_or_default(),
            None => break,
        };
        if data.len() > limit - first.len() - rest.len() {
            return Err(too_large(limit));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Makes sure that no byte arrives where none was signed.
async fn read_nothing<B: RequestBody>(body: B, scheme: &Scheme) -> Result<Bytes, Rejection> {
    let mut body = std::pin::pin!(body);
    while !body.is_end_stream() {
        match body.as_mut().frame().await {
            Some(Ok(frame)) if frame.data_ref().is_some_and(|data| !data.is_empty()) => return Err(unsigned(scheme)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(broken(error)),
            None => break,
        }
    }
    Ok(Bytes::new())
}

pub(super) fn too_large(limit: usize) -> Rejection {
    Rejection::new(RejectionKind::BodyTooLarge, format!("the body has more than the {limit} bytes that are taken"))
}

fn unsigned(scheme: &Scheme) -> Rejection {
    let name = scheme.header_name(Field::BodyDigest).as_str().to_owned();
    Rejection::missing(name, "a body came without its digest: send the SHA-256 of its bytes, and sign it")
}

fn broken(error: impl Into<BoxError>) -> Rejection {
    Rejection::malformed("body", "it broke off before its end").because(error)
}
