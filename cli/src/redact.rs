//! Keeps secrets out of clap's messages.

use clap::{
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Clap repeats the values that it was given. A value is a secret where somebody forgot the flag before it.
pub(crate) fn redacted(mut error: clap::Error) -> clap::Error {
    let hidden = || ContextValue::String("...".to_owned());
    if matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(value)) if !value.is_empty()) {
        error.insert(ContextKind::InvalidValue, hidden());
    }
    let is_flag = |text: &str| text.starts_with('-') && text.bytes().all(|b| b == b'-' || b.is_ascii_lowercase());
    let is_unknown = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        let is_hidden = matches!(error.get(kind), Some(ContextValue::String(argument)) if !is_flag(argument));
        if is_unknown && is_hidden {
            error.insert(kind, hidden());
            error.remove(ContextKind::Suggested);
            error.remove(ContextKind::SuggestedSubcommand);
            error.remove(ContextKind::SuggestedArg);
        }
    }
    if let Some(usage) = usage() {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    error
}

/// The usage of the subcommand that was given, which clap leaves out of some messages.
fn usage() -> Option<StyledStr> {
    let mut command = crate::command();
    command.build();
    let name = std::env::args_os().nth(1)?;
    Some(command.find_subcommand_mut(name.to_str()?)?.render_usage())
}
