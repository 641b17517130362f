//! The names of the fields in a query.

use std::borrow::Cow;

use crate::protocol::{
    encode::{percent, segment::Text},
    field::value::Field,
};

/// One value for each of the five fields that are sent in headers or in the query.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldMap<T>([T; 5]);

/// The fields in the order in which they are written. The body digest is not among them, because it is always a header.
pub(crate) const FIELDS: [Field; 5] = [Field::AppId, Field::Timestamp, Field::Nonce, Field::Token, Field::Sign];

impl<T> FieldMap<T> {
    pub(crate) fn get(&self, field: Field) -> Option<&T> {
        self.iter().find(|(named, _)| *named == field).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, field: Field) -> Option<&mut T> {
        let index = FIELDS.iter().position(|named| *named == field)?;
        self.0.get_mut(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Field, &T)> {
        FIELDS.into_iter().zip(&self.0)
    }
}

pub(crate) type FieldParameters = FieldMap<Cow<'static, str>>;

impl FieldParameters {
    pub(crate) fn protocol() -> Self {
        Self(["appId".into(), "timestamp".into(), "nonce".into(), "token".into(), "sign".into()])
    }

    /// Returns the field with this parameter name. Names are compared decoded. A name that cannot be decoded is not a
    /// field.
    pub(crate) fn find(&self, parameter: Text<'_>) -> Option<Field> {
        if parameter.is_broken() {
            return None;
        }
        self.iter().find(|(_, name)| percent::decode(parameter.raw()).eq(name.bytes())).map(|(field, _)| field)
    }

    /// Returns the field with this decoded parameter name.
    pub(crate) fn find_decoded(&self, parameter: &[u8]) -> Option<Field> {
        self.iter().find(|(_, name)| name.as_bytes() == parameter).map(|(field, _)| field)
    }

    /// Returns a name that is empty or used by two fields.
    pub(crate) fn unusable(&self) -> Option<&str> {
        let twice = |name| self.0.iter().filter(|other| *other == name).count() > 1;
        self.0.iter().find(|name| name.is_empty() || twice(*name)).map(|name| &**name)
    }
}
