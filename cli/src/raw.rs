//! Requests and responses as text of HTTP/1.1, for example from a log or a packet capture.

use std::{fs, io::Read, path::Path};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use crate::exit::Failure;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Reads a file, or stdin for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(MAX_FILE + 1).read_to_end(&mut bytes),
        _ => fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)),
    };
    // The path is not repeated: it may be a secret that somebody took for a file.
    let length = read.map_err(|error| Failure::input(format!("the file cannot be read: {error}")))?;
    match length as u64 > MAX_FILE {
        true => Err(Failure::input("the file has more than 64 MiB")),
        false => Ok(bytes),
    }
}

/// Whether the text begins like a request of HTTP/1.1.
pub(crate) fn is_request(text: &[u8]) -> bool {
    let line = text.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii_end();
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") || line.ends_with(b" HTTP/2")
}

/// Whether the text begins like a response of HTTP/1.1.
pub(crate) fn is_response(text: &[u8]) -> bool {
    text.starts_with(b"HTTP/")
}

/// Parses a request. Lines may end with LF alone, as people write them.
pub(crate) fn request(text: &[u8]) -> Result<Request<Bytes>, Failure> {
    let (head, mut body) = split(text)?;
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Request::new(&mut headers);
    // Some tools print the version of HTTP/2.
    let head = replaced(&head, b" HTTP/2\r\n", b" HTTP/1.1\r\n");
    parsed.parse(&head).map_err(|error| malformed("request", &error))?;
    let mut request = Request::builder()
        .method(parsed.method.unwrap_or_default())
        .uri(parsed.path.unwrap_or_default())
        .version(Version::HTTP_11)
        .body(Bytes::new())
        .map_err(|error| malformed("request", &error))?;
    *request.headers_mut() = header_map(parsed.headers)?;
    if request.headers().contains_key(TRANSFER_ENCODING) {
        let problem = "the body is chunked: save the request with its plain body and without Transfer-Encoding";
        return Err(Failure::input(problem));
    }
    // Editors and terminals add a line end to a body.
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    body.truncate(length.unwrap_or(body.len()));
    *request.body_mut() = body.into();
    Ok(request)
}

/// Parses a response. Informational responses before it are skipped.
pub(crate) fn response(text: &[u8]) -> Result<(StatusCode, HeaderMap, Vec<u8>), Failure> {
    let (head, body) = split(text)?;
    // curl prints `HTTP/2 401`.
    let after_version = head.iter().position(|&b| b == b' ').unwrap_or(head.len());
    let head = [b"HTTP/1.1", &head[after_version..]].concat();
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(&head).map_err(|error| malformed("response", &error))?;
    let status =
        StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(|error| malformed("response", &error))?;
    match status.is_informational() && is_response(&body) {
        true => response(&body),
        false => Ok((status, header_map(parsed.headers)?, body)),
    }
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match text.windows(from.len()).position(|window| window == from) {
        Some(at) => [&text[..at], to, &text[at + from.len()..]].concat(),
        None => text.to_vec(),
    }
}

/// Splits at the empty line. The head gets CRLF line ends.
fn split(text: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut head = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |at| at + 1);
        let line = rest[..end].trim_ascii_end();
        rest = &rest[end..];
        if line.is_empty() && !head.is_empty() {
            break;
        }
        head.extend(line);
        head.extend(b"\r\n");
    }
    match head.is_empty() {
        true => Err(Failure::input("the input is empty: expected HTTP/1.1 as text")),
        false => {
            head.extend(b"\r\n");
            Ok((head, rest.to_vec()))
        }
    }
}

fn header_map(headers: &[httparse::Header<'_>]) -> Result<HeaderMap, Failure> {
    let pair = |header: &httparse::Header<'_>| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| malformed("header", &error))?;
        Ok((name, HeaderValue::from_bytes(header.value).map_err(|error| malformed("header", &error))?))
    };
    headers.iter().map(pair).collect()
}

fn malformed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::input(format!("the {what} is malformed: {error}: expected HTTP/1.1 as text"))
}
