//! Source files, and what they import.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

static USE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\buse\s+([^;]+);").unwrap());
static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(?:crate|super|self)(?:::\w+)+").unwrap());

/// A file of a crate, without its comments, its texts and its tests.
pub(super) struct Source {
    /// Its path in `src`.
    pub(super) file: String,
    /// Which module it is; the crate itself has none.
    pub(super) module: Vec<String>,
    code: String,
}

/// Every file of a crate, in the order of their names.
pub(super) fn read(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                let file = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.push(Source::new(file, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib")) {
            module.pop();
        }
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        Self { file: file.to_owned(), module, code: bare(text) }
    }

    /// Whether this word is in the code.
    pub(super) fn says(&self, word: &str) -> bool {
        Regex::new(&format!(r"\b{word}\b")).unwrap().is_match(&self.code)
    }

    /// The names that a crate gives to things of its modules: `Thing` is in `b`.
    pub(super) fn exports(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        let uses = USE.captures_iter(&self.code).flat_map(|found| tree(&found[1]));
        uses.filter_map(|path| Some((path.last()?.clone(), path)))
    }

    /// The paths in its crate that it names, from the crate down.
    pub(super) fn imports(&self) -> Vec<Vec<String>> {
        let used = USE.captures_iter(&self.code).flat_map(|found| tree(&found[1]));
        let rest = USE.replace_all(&self.code, "");
        let named = PATH.find_iter(&rest).map(|found| segments(found.as_str()));
        used.chain(named).filter_map(|path| self.absolute(&path)).collect()
    }

    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (mut from, rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (self.module.clone(), &path[1..]),
            "super" => (self.module.clone(), path),
            _ => return None,
        };
        let ups = rest.iter().take_while(|segment| *segment == "super").count();
        from.truncate(from.len().saturating_sub(ups));
        from.extend_from_slice(&rest[ups..]);
        Some(from)
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::trim).filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// Every path of a `use`: `a::{b, c::d as e}` is `a::b` and `a::c::d`.
fn tree(text: &str) -> Vec<Vec<String>> {
    let Some((front, rest)) = text.split_once('{') else {
        return vec![segments(text.split(" as ").next().unwrap())];
    };
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    let inner = &rest[..rest.rfind('}').unwrap_or(rest.len())];
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[begin..]);
    let front = segments(front);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(tree).map(|path| [front.clone(), path].concat()).collect()
}

/// Code without comments and texts.
fn bare(text: &str) -> String {
    static NOISE: LazyLock<Regex> = LazyLock::new(|| {
        let texts = [r##"r#"(?s:.*?)"#"##, r#"r"[^"]*""#, r#""(?s:\\.|[^"\\])*""#, r"'(?:\\.|[^'\\])'"];
        Regex::new(&format!("(?m){}|//.*$", texts.join("|"))).unwrap()
    });
    NOISE.replace_all(text, "").into_owned()
}
