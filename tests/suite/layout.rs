//! Files in `src` import only from lower levels of the table in CONTRIBUTING.md. The README is short. The code uses
//! every word of the glossary.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders whose files may import each other.
const CYCLIC_FOLDERS: [&str; 3] = ["server/layer/", "client/", "store/redis/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The levels of the table, lowest first. Each level lists the folders and files of one row.
fn levels() -> Vec<Vec<String>> {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let table = page.split("| folder or file | what it knows |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = |row: &str| {
        let cell = row.split('|').nth(1).unwrap().to_owned();
        cell.split(',').map(|name| name.trim().trim_matches('`').trim_end_matches(".rs").to_owned()).collect()
    };
    rows.map(names).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The paths of all `use crate::` imports, one entry per item: `protocol/claim/fields/Claim`.
fn imports(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]").next().unwrap();
    let uses = text.split("use crate::").skip(1).map(|rest| rest.split(';').next().unwrap());
    uses.flat_map(|tree| expanded("", &tree.split_whitespace().collect::<String>())).collect()
}

fn expanded(prefix: &str, tree: &str) -> Vec<String> {
    match tree.split_once('{') {
        Some((head, rest)) => {
            let prefix = format!("{prefix}{}", head.replace("::", "/"));
            let inner = rest.strip_suffix('}').unwrap();
            let (mut depth, mut start, mut found) = (0, 0, vec![]);
            for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.extend(expanded(&prefix, &inner[start..at]));
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            found
        }
        None if tree.is_empty() => vec![],
        None => vec![format!("{prefix}{}", tree.replace("::", "/"))],
    }
}

/// The level of a path. A path that names a whole folder, such as `protocol`, has the level of its highest subfolder.
fn level(levels: &[Vec<String>], path: &str) -> usize {
    let is_in = |name: &String| path == name || path.starts_with(&format!("{name}/"));
    let within = |name: &String| name.starts_with(&format!("{}/", path.split('/').next().unwrap()));
    let exact = levels.iter().position(|names| names.iter().any(is_in));
    exact.or_else(|| levels.iter().rposition(|names| names.iter().any(within))).unwrap_or_else(|| {
        panic!("{path} is not in the table of CONTRIBUTING.md");
    })
}

#[test]
fn no_file_imports_upwards() {
    let levels = levels();
    assert!(levels.len() > 10, "the table was not parsed: {levels:?}");
    let (mut all, mut wrong, mut count) = (vec![], vec![], 0);
    files(&root().join("src"), &mut all);
    for file in all {
        let name = file.strip_prefix(root().join("src")).unwrap().with_extension("");
        let name = name.to_str().unwrap().replace('\\', "/");
        if ["lib", "guide", "protocol/mod"].contains(&&*name) {
            continue;
        }
        let own = level(&levels, &name);
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            count += 1;
            if level(&levels, &import) > own {
                wrong.push(format!("{name} imports {import}"));
            }
        }
    }
    assert!(count > 300, "too few imports were parsed: {count}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The rule also holds within a folder, except for the folders in [`CYCLIC_FOLDERS`].
#[test]
fn no_files_import_each_other() {
    let mut all = vec![];
    files(&root().join("src"), &mut all);
    let names: Vec<String> = all
        .iter()
        .map(|file| file.strip_prefix(root().join("src")).unwrap().with_extension("").to_str().unwrap().to_owned())
        .collect();
    let edges: Vec<(&String, Vec<&String>)> = all
        .iter()
        .zip(&names)
        .map(|(file, name)| {
            let text = fs::read_to_string(file).unwrap();
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let near = text.replace("use super::", &format!("use crate::{}::", folder.replace('/', "::")));
            let imports = imports(&near);
            let to = |other: &&String| imports.iter().any(|import| import.starts_with(&format!("{other}/")));
            (name, names.iter().filter(|other| *other != name).filter(to).collect())
        })
        .collect();
    let mut wrong = vec![];
    for (name, _) in edges.iter().filter(|(name, _)| !CYCLIC_FOLDERS.iter().any(|pair| name.starts_with(pair))) {
        let (mut seen, mut next) = (vec![], vec![*name]);
        while let Some(at) = next.pop() {
            let (_, to) = edges.iter().find(|(from, _)| *from == at).unwrap();
            for other in to {
                if other == name {
                    wrong.push(format!("{name} imports itself by way of {at}"));
                } else if !seen.contains(other) {
                    seen.push(other);
                    next.push(other);
                }
            }
        }
    }
    assert!(edges.iter().map(|(_, to)| to.len()).sum::<usize>() > 200, "too few imports were parsed");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn readme_is_short() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 200, "README.md has {lines} lines, the limit is 200: move a section to docs/");
}

#[test]
fn each_word_of_the_glossary_is_used() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let table = page.split("| word | meaning |").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!((5..=20).contains(&rows.len()), "the glossary has {} rows", rows.len());
    let mut all = vec![];
    files(&root().join("src"), &mut all);
    let source: String = all.iter().map(|file| fs::read_to_string(file).unwrap().to_lowercase()).collect();
    let words = rows.iter().flat_map(|row| row.split('|').nth(1).unwrap().split(','));
    let words = words.map(|word| word.trim().trim_matches('`').to_lowercase());
    let unused: Vec<String> = words.filter(|word| !source.contains(word)).collect();
    assert!(unused.is_empty(), "no file uses {unused:?}: remove them from CONTRIBUTING.md");
}
