//! Reads the data of an app as a type of the service.

use std::sync::Arc;

use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::de::{Error, ValueDeserializer};

use super::error::{Item, ParseError, error_at};
use crate::{protocol::AppId, store::AppData};

/// Reads an app's `data` as a value of one type.
pub(super) type DataFormat = fn(Item<'_>) -> Result<AppData, Error>;

/// Returns the format for data of type `T`.
pub(super) fn data_format<T: DeserializeOwned + Send + Sync + 'static>() -> DataFormat {
    |item| {
        let deserializer: ValueDeserializer<'_> = item.into_deserializer();
        Ok(Arc::new(T::deserialize(deserializer)?))
    }
}

pub(super) fn read_data(app: &AppId, item: &Item<'_>, format: Option<DataFormat>) -> Result<AppData, ParseError> {
    let Some(format) = format else {
        return Err(error_at(
            item,
            format!("app {app} has data, and this service reads none: open_with_data reads it"),
        ));
    };
    format(item.clone()).map_err(|error| {
        let at = error.span().map_or(item.span().start, |span| span.start);
        // Any other message may repeat the content of the file.
        let reason = Some(error.message()).filter(|message| message.starts_with("missing field"));
        let reason = reason.unwrap_or("it is not of the form that this service expects");
        ParseError::new(at, format!("the data of app {app}: {reason}"))
    })
}
