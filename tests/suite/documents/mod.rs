//! What the documents point at is there: files, headings, and the tests that show a promise.

mod page;
mod rust;

use std::{fs, path::Path};

use page::{Page, pages};

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let pages = pages();
    let mut found = vec![];
    for page in &pages {
        found.extend(page.undefined.iter().map(|name| format!("{page}: no `[{name}]:` says where [{name}] leads")));
        for link in page.links.iter().filter(|link| !link.target.contains("://")) {
            let (file, anchor) = page.followed(link);
            let there = |other: &&Page| other.path.canonicalize().ok() == file.canonicalize().ok();
            let headings = pages.iter().find(there).map_or(&[][..], |other| &other.headings);
            if !is_there(&file) {
                found.push(format!("{page}: {} is not there", link.target));
            } else if anchor.is_some_and(|anchor| !headings.iter().any(|heading| heading == anchor)) {
                found.push(format!("{page}: {} has no such heading", link.target));
            }
        }
    }
    assert!(pages.iter().map(|page| page.links.len()).sum::<usize>() > 100, "links are seen");
    assert_none(found);
}

#[test]
fn files_that_are_named_are_there() {
    const FOLDERS: [&str; 7] = ["benches/", "docs/", "examples/", "fuzz/", "scripts/", "src/", "tests/"];
    let mut found = vec![];
    for page in pages() {
        let named = page.code.iter().filter(|code| FOLDERS.iter().any(|folder| code.starts_with(folder)));
        let files = named.filter_map(|code| code.split(' ').next());
        found.extend(
            files.filter(|file| !is_there(&root().join(file))).map(|file| format!("{page}: no `{file}` there")),
        );
    }
    assert_none(found);
}

#[test]
fn each_test_that_is_named_exists_and_is_linked() {
    let suite = fs::read_to_string(root().join("tests/suite/main.rs")).unwrap();
    let areas: Vec<&str> = suite.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let (mut found, mut named) = (vec![], 0);
    for page in pages() {
        let of_the_suite = |code: &&String| {
            let is_path = code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c));
            is_path && code.split_once("::").is_some_and(|(area, _)| areas.contains(&area))
        };
        found.extend(
            page.code.iter().filter(of_the_suite).map(|code| format!("{page}: `{code}` is no link to its file")),
        );
        for link in &page.links {
            let (file, _) = page.followed(link);
            let (Some(name), true) = (&link.code, file.extension().is_some_and(|extension| extension == "rs")) else {
                continue;
            };
            if name.contains("::") && file.exists() {
                named += 1;
                found.extend(rust::fault(name, &file).map(|fault| format!("{page}: `{name}`: {fault}")));
            }
        }
    }
    assert!(named > 100, "names are seen");
    assert_none(found);
}

#[test]
fn each_promise_has_something_that_shows_it() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")).collect();
    let promises = rows.iter().filter(|(promise, _)| !["promise", "---"].contains(promise));
    let bare: Vec<_> = promises.clone().filter(|(_, shown)| !shown.contains("](") && !shown.contains("][")).collect();
    assert!(promises.count() > 40, "promises are seen");
    assert_none(bare.iter().map(|(promise, _)| format!("nothing is linked that shows: {promise}")).collect());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where this is the package and not the repository, that is not looked for which the package leaves out.
fn is_there(file: &Path) -> bool {
    let left_out = ["fuzz", "scripts"].map(|folder| root().join(folder));
    file.exists()
        || left_out.iter().all(|folder| !folder.exists()) && left_out.iter().any(|folder| file.starts_with(folder))
}

/// Tells all that was found at once: whoever renames something mends it in one go.
fn assert_none(mut found: Vec<String>) {
    found.dedup();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
