//! What a text file must not hold. The phrases are put together from halves so that this file may state them.

use super::layers::is_method;
use super::{File, Finding};

/// One concept a file; beyond this it holds two.
const MOST_LINES: usize = 500;

/// Unfinished code, in Rust.
const UNFINISHED: [&str; 3] = [concat!("#[", "ignore"), concat!("to", "do!("), concat!("unimple", "mented!(")];

/// Unfinished work, in any file.
const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Where a path starts that exists on one machine.
const ABSOLUTE: [&str; 3] = [concat!("/t", "mp/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Names of the reference's files. A method lists tensors under sites; one table per model knows these.
const FOREIGN_KEYS: [&str; 5] =
    ["base_model.model", "attention.self", "SelfAttention", "EncDecAttention", "DenseReluDense"];

/// The files that the rules read.
pub(crate) fn is_text(path: &str) -> bool {
    [".rs", ".toml", ".md", ".py", ".sh"].iter().any(|end| path.ends_with(end)) || path == ".ci/run"
}

pub(crate) fn too_long(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if !file.path.ends_with(".rs") || lines <= MOST_LINES {
        return Vec::new();
    }
    vec![Finding::new(&file.path, format!("{lines} lines; split it (the limit is {MOST_LINES})"))]
}

pub(crate) fn unfinished(file: &File) -> Vec<Finding> {
    let rust = UNFINISHED.iter().filter(|_| file.path.ends_with(".rs"));
    let rust = rust.flat_map(|phrase| on_lines(file, phrase, |_| true));
    let notes = NOTES.iter().flat_map(|note| on_lines(file, note, |around| !around.touches_word()));
    rust.chain(notes).map(|at| at.finding("finish it or take it out")).collect()
}

pub(crate) fn absolute_path(file: &File) -> Vec<Finding> {
    // `target/…` and `https://…` are no paths of a machine: what stands before one is no part of a longer path.
    let starts = |around: &Around| !around.before.is_some_and(|c| c.is_alphanumeric() || "_.-/}~".contains(c));
    let found = ABSOLUTE.iter().flat_map(|path| on_lines(file, path, starts));
    found.map(|at| at.finding("a path of one machine")).collect()
}

pub(crate) fn foreign_key(file: &File) -> Vec<Finding> {
    let mut parts = file.path.split('/');
    let is_source =
        parts.next() == Some("crates") && parts.next().is_some_and(is_method) && parts.next() == Some("src");
    let keys = FOREIGN_KEYS.iter().filter(|_| is_source);
    let found = keys.flat_map(|key| on_lines(file, key, |_| true));
    found.map(|at| at.finding("a method knows sites, not the keys of the reference's files")).collect()
}

/// A phrase on a line of a file.
struct At<'a> {
    path: &'a str,
    line: usize,
    phrase: &'a str,
}

impl At<'_> {
    fn finding(&self, why: &str) -> Finding {
        Finding::new(format!("{}:{}", self.path, self.line), format!("`{}`: {why}", self.phrase))
    }
}

/// The characters beside a phrase.
struct Around {
    before: Option<char>,
    after: Option<char>,
}

impl Around {
    fn touches_word(&self) -> bool {
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        self.before.is_some_and(in_word) || self.after.is_some_and(in_word)
    }
}

/// The lines on which `phrase` stands where `counts` says so.
fn on_lines<'a>(file: &'a File, phrase: &'a str, counts: impl Fn(&Around) -> bool) -> Vec<At<'a>> {
    let stands = |text: &str| {
        text.match_indices(phrase).any(|(start, _)| {
            counts(&Around {
                before: text[..start].chars().next_back(),
                after: text[start + phrase.len()..].chars().next(),
            })
        })
    };
    let lines = file.text.lines().enumerate().filter(|(_, text)| stands(text));
    lines.map(|(line, _)| At { path: &file.path, line: line + 1, phrase }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: impl Into<String>) -> File {
        File { path: path.into(), text: text.into() }
    }

    fn shown(findings: Vec<Finding>) -> Vec<String> {
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_long_file_is_found_if_it_is_rust() {
        assert_eq!(too_long(&file("a.rs", "x\n".repeat(MOST_LINES))), []);
        assert_eq!(too_long(&file("a.rs", "x\n".repeat(MOST_LINES + 1))).len(), 1);
        assert_eq!(too_long(&file("a.md", "x\n".repeat(MOST_LINES + 1))), []);
    }

    #[test]
    fn unfinished_code_is_found_by_line() {
        for phrase in UNFINISHED {
            let found = shown(unfinished(&file("a.rs", format!("fn a() {{}}\n    {phrase}\"…\")\n"))));
            assert_eq!(found.len(), 1, "{phrase}");
            assert!(found[0].starts_with("a.rs:2: "), "{}", found[0]);
            assert_eq!(unfinished(&file("a.md", phrase)), [], "{phrase} may be written about");
        }
        for note in NOTES {
            assert_eq!(unfinished(&file("a.toml", format!("# {note}: later"))).len(), 1);
            assert_eq!(unfinished(&file("a.rs", format!("const {note}S: u8 = 0;"))), []);
        }
    }

    #[test]
    fn a_path_of_one_machine_is_found_but_no_relative_one() {
        for path in ABSOLUTE {
            assert_eq!(absolute_path(&file("a.md", format!("see `{path}x`"))).len(), 1);
            for fine in [format!("target{path}x"), format!("https:/{path}x"), format!("${{DIR}}{path}")] {
                assert_eq!(absolute_path(&file("a.rs", fine.clone())), [], "{fine}");
            }
        }
    }

    #[test]
    fn keys_of_the_reference_have_no_place_in_a_method() {
        let text = "let key = format!(\"base_model.model.{path}\");";
        assert_eq!(foreign_key(&file("crates/peft-lora/src/files.rs", text)).len(), 1);
        for fine in ["crates/peft-models/src/bert/keys.rs", "crates/peft-lora/tests/files.rs", "tests/src/files.rs"] {
            assert_eq!(foreign_key(&file(fine, text)), [], "{fine}");
        }
    }

    #[test]
    fn only_text_that_people_write_is_read() {
        assert!(is_text("crates/peft-core/src/lib.rs") && is_text(".ci/run") && is_text("docs/src/lora.md"));
        assert!(!is_text("Cargo.lock") && !is_text("assets/minilm-l3/tokenizer.json"));
    }
}
