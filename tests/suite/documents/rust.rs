//! Checks whether a name in a document exists in a Rust file.

use std::{fs, path::Path};

use super::root;

/// The error in a name. A name is valid if it is a module, a test in it, or a type with an example that must not
/// compile.
pub(super) fn error_in(name: &str, file: &Path) -> Option<String> {
    let module = module(file);
    if name == module {
        return None;
    }
    let Some(rest) = name.strip_prefix(&module).and_then(|rest| rest.strip_prefix("::")) else {
        return Some(format!("the file is `{module}`"));
    };
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut names: Vec<&str> = rest.split("::").collect();
    let last = names.pop()?;
    let inner = names.iter().all(|inner| lines.contains(&&*format!("mod {inner} {{")));
    let is_shown = |at: usize| {
        let above = || lines[..at].iter().rev().take_while(|line| !line.is_empty() && **line != "}");
        match item(lines[at], last) {
            Some(Item::Function) => {
                above().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
            }
            Some(Item::Type) => above().any(|line| line.starts_with("/// ```compile_fail")),
            None => false,
        }
    };
    (!inner || !(0..lines.len()).any(is_shown)).then(|| format!("`{module}` has no such test or example"))
}

enum Item {
    Function,
    Type,
}

/// The kind of item that a line declares with this name.
fn item(line: &str, name: &str) -> Option<Item> {
    let (declared, item) = match line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
        Some(declared) => (declared, Item::Function),
        None => (line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub trait "))?, Item::Type),
    };
    let rest = declared.strip_prefix(name)?;
    (!rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')).then_some(item)
}

/// `redis::outages` for tests/suite/redis/outages.rs, `store::cached` for src/store/cached/mod.rs.
fn module(file: &Path) -> String {
    let file = file.strip_prefix(root()).unwrap().with_extension("");
    let inside = file.strip_prefix("tests/suite").or_else(|_| file.strip_prefix("src")).unwrap_or(&file);
    let names: Vec<&str> = inside.iter().map(|name| name.to_str().unwrap()).filter(|name| *name != "mod").collect();
    names.join("::")
}
