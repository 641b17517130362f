//! What commands print.

use countersign::{Refusal, client::Comparison};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

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

pub(crate) fn header_text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
