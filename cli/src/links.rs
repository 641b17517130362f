//! The options for what signers and services of share links configure alike.

use clap::Args;
use countersign::{LinkScheme, Scheme};

/// The options of the scheme of links.
#[derive(Args)]
#[command(next_help_heading = "Configuration of links, on both ends")]
pub(crate) struct LinkOptions {
    /// The name that links are for, if it is not that of --audience
    #[arg(long, value_name = "TEXT")]
    link_audience: Option<String>,
    /// A parameter that links do not sign, and that the service does not get; repeatable
    #[arg(long, value_name = "NAME")]
    leave_out: Vec<String>,
    /// Leave out the parameters that mailers and social sites add to links, utm_source for example
    #[arg(long)]
    leave_out_tracking: bool,
}

impl LinkOptions {
    /// Adds these options to a scheme. A message names the option that is wrong.
    pub(crate) fn add_to(&self, scheme: Scheme) -> Result<Scheme, String> {
        let mut links = LinkScheme::new().without(self.leave_out.iter().cloned());
        if self.leave_out_tracking {
            links = links.without(LinkScheme::TRACKING);
        }
        if let Some(audience) = &self.link_audience {
            links = links.with_audience(&**audience).map_err(|error| format!("--link-audience: {error}"))?;
        }
        scheme.with_links(links).map_err(|error| format!("--leave-out: {error}"))
    }
}
