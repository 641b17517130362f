//! The headers of a response to a share link.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, EXPIRES, REFERRER_POLICY},
};

use super::{opened::OpenedLink, options::Links};
use crate::server::response::caching::Directives;

/// What a response to a link needs, taken from the request before the service gets it.
#[derive(Clone, Copy)]
pub(in crate::server) struct LinkAnswer {
    /// The end of the link, if a browser may keep the response until then.
    cacheable_until: Option<u64>,
}

impl LinkAnswer {
    pub(in crate::server) fn new(links: Links, link: &OpenedLink) -> Self {
        Self { cacheable_until: (links.is_cacheable() && !link.can_end_early()).then_some(link.expires_at()) }
    }

    /// Keeps the response from outliving its link. `now` is in Unix seconds.
    pub(in crate::server) fn bind(self, headers: &mut HeaderMap, now: u64) {
        let directives = Directives::read(headers.get_all(CACHE_CONTROL).iter());
        let left = self.cacheable_until.map(|end| end.saturating_sub(now)).filter(|_| !directives.forbids_reuse());
        let cacheable = left.and_then(|left| {
            let seconds = directives.max_age().map_or(left, |max_age| max_age.min(left));
            HeaderValue::try_from(format!("private, max-age={seconds}, must-revalidate")).ok()
        });
        headers.remove(EXPIRES);
        headers.insert(CACHE_CONTROL, cacheable.unwrap_or(HeaderValue::from_static("private, no-store")));
        hide_link(headers);
    }
}

/// Keeps the link out of search engines, and out of the requests that its page makes.
pub(in crate::server) fn hide_link(headers: &mut HeaderMap) {
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow"));
}
