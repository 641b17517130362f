//! `countersign completions` and `countersign man`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::{exit::Failure, show::print};

/// Prints the completions for a shell
///
/// Example: countersign completions bash > /etc/bash_completion.d/countersign
#[derive(Args)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the manual page, of all or of one command
///
/// Examples:
///   countersign man | man -l -
///   countersign man send | man -l -
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ManArguments {
    /// The command
    command: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::command(), "countersign", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(arguments: &ManArguments) -> Result<ExitCode, Failure> {
    let mut command = crate::command();
    command.build();
    let page = match &arguments.command {
        None => clap_mangen::Man::new(command),
        Some(name) => match command.find_subcommand(name) {
            Some(found) => clap_mangen::Man::new(found.clone()),
            None => Failure::usage("man", "there is no such command"),
        },
    };
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| Failure::input(format!("the page was not made: {error}")))?;
    print(String::from_utf8_lossy(&text).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
