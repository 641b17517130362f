//! `countersign completions` and `countersign man`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::exit::Failure;

/// Prints the completions for a shell
///
/// Example: countersign completions bash > /etc/bash_completion.d/countersign
#[derive(Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the manual page
///
/// Example: countersign man | man -l -
#[derive(Args)]
pub(crate) struct ManArguments {}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    clap_complete::generate(arguments.shell, &mut crate::command(), "countersign", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man() -> Result<ExitCode, Failure> {
    let page = clap_mangen::Man::new(crate::command());
    page.render(&mut std::io::stdout())
        .map_err(|error| Failure::input(format!("the page was not written: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
