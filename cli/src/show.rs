//! What commands print.

use std::io::Write;

use countersign::{Refusal, client::Comparison};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use crate::exit::Failure;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// Writes to stdout, without colours unless it is a terminal. A reader that has closed the pipe has seen enough.
pub(crate) fn print(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::input(format!("the output was not written: {error}")))
        }
        _ => Ok(()),
    }
}

/// A success, in green on a terminal.
pub(crate) fn good(text: &str) -> String {
    format!("{GREEN}{text}{RESET}")
}

/// A failure, in red on a terminal.
pub(crate) fn bad(text: &str) -> String {
    format!("{RED}{text}{RESET}")
}

/// The first difference of two strings to sign, and its cause.
pub(crate) fn comparison_text(comparison: &Comparison) -> String {
    let mut lines = Vec::new();
    if let Comparison::Different(difference) = comparison {
        lines.push(format!("{BOLD}{} differs{RESET}", difference.line().to_string().trim_end_matches(',')));
        if let (Some(signed), Some(verified)) = (difference.signed(), difference.verified()) {
            lines.push(format!("  signed:  {signed}"));
            lines.push(format!("  arrived: {verified}"));
        }
    }
    lines.push(match comparison.cause() {
        Some(cause) => format!("{BOLD}cause:{RESET} {}: {}", cause.code(), cause.advice()),
        None => comparison.to_string(),
    });
    lines.join("\n")
}

/// A comparison for scripts.
pub(crate) fn comparison_json(comparison: &Comparison) -> Value {
    let difference = match comparison {
        Comparison::Different(difference) => Some(difference),
        _ => None,
    };
    json!({
        "same": *comparison == Comparison::Same,
        "line": difference.map(|difference| difference.line().code()),
        "signed": difference.and_then(|difference| difference.signed()),
        "arrived": difference.and_then(|difference| difference.verified()),
        "cause": comparison.cause().map(|cause| cause.code()),
        "advice": comparison.cause().map(|cause| cause.advice()),
    })
}

/// A refusal for scripts.
pub(crate) fn refusal_json(refusal: &Refusal) -> Value {
    json!({
        "code": refusal.code(),
        "field": refusal.field(),
        "detail": refusal.detail(),
        "server_time": refusal.server_time(),
        "clock_offset": refusal.clock_offset(),
        "retry_after": refusal.retry_after().map(|after| after.as_secs()),
        "string_to_sign": refusal.string_to_sign().map(countersign::Explanation::as_str),
        "comparison": refusal.comparison().map(comparison_json),
    })
}

/// Headers for scripts. A repeated header has all its values, joined by commas.
pub(crate) fn headers_json(headers: &HeaderMap) -> Value {
    let text = |name| headers.get_all(name).iter().map(header_text).collect::<Vec<_>>().join(", ");
    headers.keys().map(|name| (name.to_string(), text(name).into())).collect::<Map<_, _>>().into()
}

/// A value as text. What a terminal may act on is escaped.
pub(crate) fn header_text(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// JSON in which the control characters are escaped that JSON itself allows.
pub(crate) fn json_text(value: &Value) -> String {
    let escaped = |c: char| match c {
        '\u{7f}'..='\u{9f}' => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    };
    value.to_string().chars().map(escaped).collect()
}
