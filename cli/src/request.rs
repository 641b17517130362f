//! The options for a request.

use std::path::PathBuf;

use clap::Args;
use countersign::{BodyDigest, BodyHasher};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};

use crate::exit::Failure;

/// The request to sign.
#[derive(Args)]
#[command(next_help_heading = "Request")]
pub(crate) struct RequestOptions {
    /// The URL, which is signed as it is written
    pub(crate) url: String,
    /// The method; by default GET, and POST with a body
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<Method>,
    /// A header, as `name: value`; repeatable
    #[arg(short = 'H', long, value_name = "HEADER")]
    header: Vec<String>,
    /// The body as text; set its content type with -H
    #[arg(short, long, value_name = "TEXT", conflicts_with_all = ["data_file", "form"])]
    data: Option<String>,
    /// The file with the body
    #[arg(long, value_name = "FILE", conflicts_with = "form")]
    pub(crate) data_file: Option<PathBuf>,
    /// A parameter of a form, as `name=value`; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    form: Vec<String>,
}

impl RequestOptions {
    pub(crate) fn method(&self) -> Method {
        let has_body = self.data.is_some() || self.data_file.is_some() || !self.form.is_empty();
        self.method.clone().unwrap_or(if has_body { Method::POST } else { Method::GET })
    }

    pub(crate) fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        for header in &self.header {
            let expected = || Failure::input("-H: expected a header, as `name: value`");
            let (name, value) = header.split_once(':').ok_or_else(expected)?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| expected())?;
            headers.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| expected())?);
        }
        if !self.form.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        Ok(headers)
    }

    /// The body, unless it is in a file.
    pub(crate) fn body(&self) -> Result<String, Failure> {
        let pair = |pair: &String| {
            let (name, value) = pair.split_once('=').ok_or_else(|| Failure::input("--form: expected `name=value`"))?;
            Ok(format!("{}={}", escape(name), escape(value)))
        };
        match &self.data {
            Some(data) => Ok(data.clone()),
            None => Ok(self.form.iter().map(pair).collect::<Result<Vec<_>, Failure>>()?.join("&")),
        }
    }

    /// The digest of the file with the body.
    pub(crate) fn file_digest(&self) -> Result<Option<BodyDigest>, Failure> {
        let Some(path) = &self.data_file else { return Ok(None) };
        let failure = |error: std::io::Error| Failure::input(format!("--data-file: {error}"));
        // The file is read twice, and a pipe can be read only once.
        if !std::fs::metadata(path).map_err(failure)?.is_file() {
            return Err(Failure::input("--data-file: expected a regular file"));
        }
        let mut hasher = BodyHasher::new();
        std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher)).map_err(failure)?;
        Ok(Some(hasher.finish()))
    }
}

/// Escapes a name or a value of a form.
fn escape(text: &str) -> String {
    let escaped = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(escaped).collect()
}
