//! Parses the links, code spans and headings of a document.

use std::{fmt, fs, path::PathBuf};

use pulldown_cmark::{BrokenLink, Event, Options, Parser, Tag, TagEnd};

use super::root;

pub(super) struct Page {
    pub(super) path: PathBuf,
    pub(super) links: Vec<Link>,
    /// Code spans outside links.
    pub(super) code: Vec<String>,
    /// The anchors of the headings.
    pub(super) headings: Vec<String>,
    /// The labels of links whose target is missing.
    pub(super) undefined: Vec<String>,
}

pub(super) struct Link {
    pub(super) target: String,
    /// The text of the link, if it is a single code span.
    pub(super) code: Option<String>,
}

/// The pages in the root and in docs.
pub(super) fn pages() -> Vec<Page> {
    let folders = [root().to_owned(), root().join("docs")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).map(Page::read).collect()
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let (mut links, mut code, mut headings, mut undefined) = (vec![], vec![], vec![], vec![]);
        // The parts of the open link and of the open heading. The flag marks code.
        let mut link: Option<(String, Vec<(bool, String)>)> = None;
        let mut heading: Option<String> = None;
        let broken = |link: BrokenLink<'_>| {
            undefined.push(link.reference.to_string());
            None
        };
        for event in Parser::new_with_broken_link_callback(&text, Options::ENABLE_TABLES, Some(broken)) {
            match &event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    link = Some((dest_url.to_string(), vec![]));
                }
                Event::End(TagEnd::Link | TagEnd::Image) => {
                    let (target, pieces) = link.take().unwrap();
                    let code = pieces.first().filter(|(is_code, _)| *is_code && pieces.len() == 1);
                    links.push(Link { target, code: code.map(|(_, text)| text.clone()) });
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => headings.push(anchor(&heading.take().unwrap())),
                Event::Code(text) | Event::Text(text) => {
                    let is_code = matches!(event, Event::Code(_));
                    match (&mut link, &mut heading) {
                        (Some((_, pieces)), _) => pieces.push((is_code, text.to_string())),
                        (None, Some(heading)) => heading.push_str(text),
                        (None, None) if is_code => code.push(text.to_string()),
                        (None, None) => {}
                    }
                }
                _ => {}
            }
        }
        Self { path, links, code, headings, undefined }
    }

    /// The file that a link points to, and the anchor in it.
    pub(super) fn resolve<'l>(&self, link: &'l Link) -> (PathBuf, Option<&'l str>) {
        let (file, anchor) = link.target.split_once('#').map_or((&link.target[..], None), |(file, a)| (file, Some(a)));
        let file = if file.is_empty() { self.path.clone() } else { self.path.with_file_name(file) };
        (file, anchor)
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.strip_prefix(root()).unwrap().display().fmt(f)
    }
}

/// The anchor that GitHub generates for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
