//! The text files of the repository.

use std::path::Path;

use anyhow::{Context, Result};

use super::output;

/// A text file, by its path from the root with `/` between folders.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Folders that hold what programs wrote: for a checkout without git, which cannot ask .gitignore.
const WRITTEN: [&str; 5] = [".git", ".venv", "book", "runs", "target"];

/// The files that are in git or would be, if `wanted` takes their path: what .gitignore leaves out is nobody's to tidy.
pub(crate) fn files(root: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<File>> {
    // A checkout may belong to another user than the one who checks it, as in a container.
    let args = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let paths = match output(root, "git", &args) {
        Ok(listed) => listed.split_terminator('\0').map(String::from).collect(),
        Err(_) => {
            let mut paths = Vec::new();
            walk(root, "", &mut paths)?;
            paths
        }
    };
    let mut files = Vec::new();
    for path in paths.into_iter().filter(|path| wanted(path)) {
        // A file that was deleted by hand is listed until git is told.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

/// Adds the files below `folder`, which is empty or ends in `/`, sorted by name.
fn walk(root: &Path, folder: &str, paths: &mut Vec<String>) -> Result<()> {
    let listing = std::fs::read_dir(root.join(folder)).with_context(|| format!("cannot list `{folder}`"))?;
    let mut entries = listing.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() && !WRITTEN.contains(&name.as_str()) {
            walk(root, &format!("{folder}{name}/"), paths)?;
        } else if kind.is_file() {
            paths.push(format!("{folder}{name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_list_find_this_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let this = "xtask/src/tidy/files.rs";
        let found = files(root, |path| path == this).unwrap();
        assert!(found.len() == 1 && found[0].text.contains("both_ways_to_list"));
        let mut walked = Vec::new();
        walk(root, "", &mut walked).unwrap();
        assert!(walked.iter().any(|path| path == this));
        assert!(!walked.iter().any(|path| path.starts_with("target/")));
    }
}
