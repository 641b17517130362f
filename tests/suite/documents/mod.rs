//! The links of the documents are valid: they point to existing files, headings and tests.

mod page;
mod rust;

use std::{fs, path::Path};

use page::{Page, pages};

#[test]
fn links_point_to_existing_files_and_headings() {
    let pages = pages();
    let mut found = vec![];
    for page in &pages {
        found.extend(page.undefined.iter().map(|name| format!("{page}: the label [{name}] has no definition")));
        for link in page.links.iter().filter(|link| !link.target.contains("://")) {
            let (file, anchor) = page.resolve(link);
            let same_file = |other: &&Page| other.path.canonicalize().ok() == file.canonicalize().ok();
            let headings = pages.iter().find(same_file).map_or(&[][..], |other| &other.headings);
            if !is_present(&file) {
                found.push(format!("{page}: {} does not exist", link.target));
            } else if anchor.is_some_and(|anchor| !headings.iter().any(|heading| heading == anchor)) {
                found.push(format!("{page}: {} has no such heading", link.target));
            }
        }
    }
    assert!(pages.iter().map(|page| page.links.len()).sum::<usize>() > 100, "too few links were found");
    assert_none(found);
}

#[test]
fn named_files_exist() {
    const FOLDERS: [&str; 8] = ["benches/", "docs/", "examples/", "fuzz/", "scripts/", "src/", "tests/", "tools/"];
    let mut found = vec![];
    for page in pages() {
        let named = page.code.iter().filter(|code| FOLDERS.iter().any(|folder| code.starts_with(folder)));
        let files = named.filter_map(|code| code.split(' ').next());
        found.extend(
            files.filter(|file| !is_present(&root().join(file))).map(|file| format!("{page}: `{file}` does not exist")),
        );
    }
    assert_none(found);
}

#[test]
fn named_tests_exist_and_are_linked() {
    let suite = fs::read_to_string(root().join("tests/suite/main.rs")).unwrap();
    let areas: Vec<&str> = suite.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let (mut found, mut named) = (vec![], 0);
    for page in pages() {
        let of_the_suite = |code: &&String| {
            let is_path = code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c));
            is_path && code.split_once("::").is_some_and(|(area, _)| areas.contains(&area))
        };
        found.extend(
            page.code.iter().filter(of_the_suite).map(|code| format!("{page}: `{code}` does not link to its file")),
        );
        for link in &page.links {
            let (file, _) = page.resolve(link);
            let (Some(name), true) = (&link.code, file.extension().is_some_and(|extension| extension == "rs")) else {
                continue;
            };
            if name.contains("::") && file.exists() {
                named += 1;
                found.extend(rust::error_in(name, &file).map(|error_in| format!("{page}: `{name}`: {error_in}")));
            }
        }
    }
    assert!(named > 100, "too few test names were found");
    assert_none(found);
}

#[test]
fn each_promise_links_to_its_evidence() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")).collect();
    let promises = rows.iter().filter(|(promise, _)| !["promise", "---"].contains(promise));
    let bare: Vec<_> = promises.clone().filter(|(_, shown)| !shown.contains("](") && !shown.contains("][")).collect();
    assert!(promises.count() > 40, "too few promises were found");
    assert_none(bare.iter().map(|(promise, _)| format!("no evidence is linked for: {promise}")).collect());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the file exists. The published package omits some folders, so their files are not checked there.
fn is_present(file: &Path) -> bool {
    let omitted = ["fuzz", "scripts"].map(|folder| root().join(folder));
    file.exists()
        || omitted.iter().all(|folder| !folder.exists()) && omitted.iter().any(|folder| file.starts_with(folder))
}

/// Reports all findings in one failure.
fn assert_none(mut found: Vec<String>) {
    found.dedup();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
