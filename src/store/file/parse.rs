//! Parses key files. Unknown names are errors: a misspelt `enabled = false` would otherwise leave an app enabled.

use std::ops::Range;

use time::{Date, Month, UtcOffset};
use toml::{
    de::DeTable,
    value::{Datetime, Offset},
};

use super::{
    data::{DataFormat, read_data},
    error::{Item, ParseError, error_at, line_of},
};
use crate::{
    protocol::{AppId, FieldError, Key, KeyRing, KeyRingError, Secret, SecretError},
    store::{App, StaticKeys},
};

/// Returns the enabled apps.
pub(super) fn parse(text: &str, format: Option<DataFormat>) -> Result<StaticKeys, ParseError> {
    // The message has fixed words only. `Display` also shows the line, which may contain a secret.
    let document = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(text.len()..text.len());
        let detail = duplicate_app(text, &span).unwrap_or_else(|| error.message().to_owned());
        ParseError::new(span.start, detail)
    })?;
    let document = document.get_ref();
    check_names(document, &["apps"])?;
    let apps = document.get("apps").ok_or_else(|| ParseError::new(0, "there is no app: expected [apps.ID]"))?;
    let apps = table(apps, "expected a table of apps: [apps.ID]")?;
    if apps.is_empty() {
        return Err(ParseError::new(0, "there is no app: expected [apps.ID]; `enabled = false` shuts one out"));
    }
    let mut enabled = Vec::new();
    for (id, app) in apps {
        let app_id: AppId = id.get_ref().parse().map_err(|error: FieldError| {
            ParseError::new(
                id.span().start,
                format!("the app's id: {}; one with a dot stands in quotes", error.problem()),
            )
        })?;
        let (is_enabled, app) = parse_app(&app_id, app, format)?;
        if is_enabled {
            enabled.push((app_id, app));
        }
    }
    StaticKeys::new(enabled).map_err(|error| ParseError::new(0, error.to_string()))
}

/// Returns the error for a table header that repeats the app at this span.
fn duplicate_app(text: &str, span: &Range<usize>) -> Option<String> {
    let line_start = text.get(..span.start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let is_header = text.get(line_start..)?.trim_start().starts_with('[');
    let id = text.get(span.clone())?.trim_matches(['"', '\'']);
    let (before, _) = DeTable::parse_recoverable(text.get(..line_start)?);
    let apps = before.get_ref().get("apps").filter(|_| is_header)?;
    let (first, _) = apps.get_ref().as_table()?.get_key_value(id)?;
    let first_line = line_of(text, first.span().start);
    // A well-formed id of an app is not a misplaced secret, so the message may repeat it.
    let id: AppId = id.parse().ok()?;
    Some(format!("app {id} is in the file twice, the first time in line {first_line}: put all its keys there"))
}

fn parse_app(id: &AppId, app: &Item<'_>, format: Option<DataFormat>) -> Result<(bool, App), ParseError> {
    let entries = table(app, "expected an app: [apps.ID]; an id with a dot stands in quotes")?;
    check_names(entries, &["data", "enabled", "keys"])?;
    let is_enabled = match entries.get("enabled") {
        None => true,
        Some(enabled) => enabled.get_ref().as_bool().ok_or_else(|| error_at(enabled, "expected true or false"))?,
    };
    let missing = || error_at(app, format!("app {id} has no keys: expected [[apps.{id}.keys]]"));
    let keys = entries.get("keys").ok_or_else(missing)?;
    let items =
        keys.get_ref().as_array().ok_or_else(|| error_at(keys, "expected [[apps.ID.keys]], in two brackets"))?;
    let parsed = items.iter().map(parse_key).collect::<Result<Vec<_>, _>>()?;
    let ring = KeyRing::new(parsed).map_err(|error| {
        let culprit = match &error {
            KeyRingError::NeverActive { index } | KeyRingError::SameSecret { indices: [_, index] } => items.get(*index),
            _ => None,
        };
        error_at(culprit.unwrap_or(keys), format!("app {id}: {error}"))
    })?;
    let data = entries.get("data").map(|data| read_data(id, data, format)).transpose()?;
    Ok((is_enabled, App::new(ring).with_shared_data(data)))
}

fn parse_key(item: &Item<'_>) -> Result<Key, ParseError> {
    let entries = table(item, "expected a key: { secret = \"hex:...\" }")?;
    check_names(entries, &["name", "not-after", "not-before", "secret"])?;
    let written = entries.get("secret").ok_or_else(|| error_at(item, "the key has no secret"))?;
    let secret: Secret = string(written)?.parse().map_err(|error: SecretError| error_at(written, error.to_string()))?;
    let mut key = Key::from(secret);
    if let Some(name) = entries.get("name") {
        key = key.with_name(
            string(name)?
                .parse()
                .map_err(|error: FieldError| error_at(name, format!("the key's name: {}", error.problem())))?,
        );
    }
    if let Some(second) = entries.get("not-before") {
        key = key.with_not_before(unix_seconds(second)?);
    }
    if let Some(second) = entries.get("not-after") {
        key = key.with_not_after(unix_seconds(second)?);
    }
    Ok(key)
}

fn check_names(entries: &DeTable<'_>, known: &[&str]) -> Result<(), ParseError> {
    let unknown = entries.iter().map(|(name, _)| name).find(|name| !known.contains(&&**name.get_ref()));
    match unknown {
        None => Ok(()),
        // Do not repeat the name: it may be a misplaced secret.
        Some(name) => Err(ParseError::new(name.span().start, format!("unknown name: expected {}", known.join(", ")))),
    }
}

fn table<'t, 'i>(item: &'t Item<'i>, expected: &str) -> Result<&'t DeTable<'i>, ParseError> {
    item.get_ref().as_table().ok_or_else(|| error_at(item, expected))
}

fn string<'t>(item: &'t Item<'_>) -> Result<&'t str, ParseError> {
    item.get_ref().as_str().ok_or_else(|| error_at(item, "expected a text in quotes"))
}

fn unix_seconds(item: &Item<'_>) -> Result<u64, ParseError> {
    const EXPECTED: &str = "expected a date and time since 1970 with an offset, in whole seconds and without quotes: \
                            2026-10-01T00:00:00Z";
    item.get_ref().as_datetime().and_then(in_unix_seconds).ok_or_else(|| error_at(item, EXPECTED))
}

fn in_unix_seconds(datetime: &Datetime) -> Option<u64> {
    let (date, time, offset) = (datetime.date?, datetime.time?, datetime.offset?);
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i32::from(minutes),
    };
    let day = Date::from_calendar_date(date.year.into(), Month::try_from(date.month).ok()?, date.day).ok()?;
    let moment = day.with_hms(time.hour, time.minute, time.second.unwrap_or(0)).ok()?;
    let moment = moment.assume_offset(UtcOffset::from_whole_seconds(minutes * 60).ok()?);
    let is_whole = time.nanosecond.unwrap_or(0) == 0;
    u64::try_from(moment.unix_timestamp()).ok().filter(|_| is_whole)
}
