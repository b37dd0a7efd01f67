//! `peft adapters`: what adapters a folder holds, at any depth.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use peft::core::file::CONFIG;
use peft::read_adapter;
use serde_json::json;

use crate::cli::AdaptersArgs;
use crate::terminal::say;

/// Folders below this many others are not looked at.
const DEPTH: usize = 4;

pub(crate) fn run(args: &AdaptersArgs) -> Result<()> {
    let mut found = Vec::new();
    collect(&args.folder, DEPTH, &mut found)?;
    if found.is_empty() {
        bail!("{}: no adapter here; an adapter is a folder with an {CONFIG}", args.folder.display());
    }
    let mut rows = Vec::new();
    for folder in &found {
        rows.push(match Row::of(folder) {
            Ok(row) => row,
            Err(error) => Row { folder: shown(&args.folder, folder), fault: Some(error.to_string()), ..Row::default() },
        });
        let last = rows.len() - 1;
        rows[last].folder = shown(&args.folder, folder);
    }
    if args.json {
        for row in &rows {
            let line = json!({
                "folder": row.folder, "method": row.kind, "task": row.task, "base": row.base,
                "tensors": row.tensors, "parameters": row.parameters, "error": row.fault,
            });
            say!("{line}")?;
        }
        return Ok(());
    }
    let width = |of: fn(&Row) -> usize, least: usize| rows.iter().map(of).max().unwrap_or(0).max(least);
    let (a, b, c) = (width(|r| r.folder.len(), 7), width(|r| r.kind.len(), 6), width(|r| r.task.len(), 4));
    say!("{:<a$}  {:<b$}  {:<c$}  {:>10}  base", "adapter", "method", "task", "parameters")?;
    for row in &rows {
        match &row.fault {
            Some(fault) => say!("{:<a$}  damaged: {fault}", row.folder)?,
            None => {
                say!("{:<a$}  {:<b$}  {:<c$}  {:>10}  {}", row.folder, row.kind, row.task, row.parameters, row.base)?
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Row {
    folder: String,
    kind: String,
    task: String,
    base: String,
    tensors: usize,
    parameters: usize,
    fault: Option<String>,
}

impl Row {
    fn of(folder: &Path) -> Result<Self> {
        let (config, file) = read_adapter(folder)?;
        let text = |field: &str| file.config.get(field).and_then(|value| value.as_str()).unwrap_or("-").to_string();
        Ok(Self {
            folder: String::new(),
            kind: config.kind().to_string(),
            task: text("task_type"),
            base: text("base_model_name_or_path"),
            tensors: file.tensors.len(),
            parameters: file.tensors.values().map(|data| data.shape().num_elements()).sum(),
            fault: None,
        })
    }
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join(CONFIG).exists() {
        found.push(folder.to_path_buf());
    }
    let entries = std::fs::read_dir(folder).map_err(|error| peft::core::Error::io(folder, error))?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_dir()).collect();
    folders.sort();
    // A run's checkpoints are stages of the adapter above them.
    folders.retain(|path| {
        !path.file_name().is_some_and(|name| name == "checkpoints" || name.to_string_lossy().starts_with('.'))
    });
    match depth {
        0 => Ok(()),
        _ => folders.iter().try_for_each(|folder| collect(folder, depth - 1, found)),
    }
}

fn shown(root: &Path, folder: &Path) -> String {
    match folder.strip_prefix(root) {
        Ok(rest) if rest.as_os_str().is_empty() => ".".to_string(),
        Ok(rest) => rest.display().to_string(),
        Err(_) => folder.display().to_string(),
    }
}
