//! One thing to run, written down before it runs: what the user sees is what he can paste to repeat it.

use std::fmt;

/// A command line with the environment it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) env: Vec<(&'static str, &'static str)>,
    pub(crate) program: &'static str,
    pub(crate) args: Vec<String>,
}

impl Line {
    /// Splits at blanks: for lines that hold no quoted words.
    pub(crate) fn new(line: &'static str) -> Self {
        let mut words = line.split_whitespace();
        Self { env: Vec::new(), program: words.next().unwrap_or_default(), args: words.map(String::from).collect() }
    }

    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    pub(crate) fn args(mut self, more: &[String]) -> Self {
        self.args.extend_from_slice(more);
        self
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(value))?;
        }
        write!(f, "{}", self.program)?;
        for arg in &self.args {
            write!(f, " {}", quoted(arg))?;
        }
        Ok(())
    }
}

/// `word` as a shell needs it written.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The rules of [`crate::tidy`], which run in this process.
    Tidy,
    /// A command that must succeed.
    Run { title: &'static str, line: Line },
    /// A command of a tool that not everyone has: left out, with a word, where `probe` fails.
    IfInstalled { title: &'static str, probe: Line, line: Line },
}

impl Step {
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Tidy => "tidy",
            Self::Run { title, .. } | Self::IfInstalled { title, .. } => title,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_would_be_typed() {
        let line =
            Line::new("cargo doc --no-deps").env("RUSTDOCFLAGS", "-D warnings").args(&["a b".into(), "it's".into()]);
        assert_eq!(line.to_string(), r"RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'a b' 'it'\''s'");
    }
}
