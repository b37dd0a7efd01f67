//! Lines for standard output and standard error, either of which may be closed or full: `println!` would panic.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Prints a line to standard output.
macro_rules! say {
    ($($part:tt)*) => { $crate::terminal::to_output(format_args!($($part)*)) };
}

/// Prints a line to standard error.
macro_rules! note {
    ($($part:tt)*) => { $crate::terminal::to_error(format_args!($($part)*)) };
}

pub(crate) use {note, say};

/// # Errors
/// If it cannot be written. A reader that has seen enough (`| head`) is no error.
pub(crate) fn to_output(line: Arguments<'_>) -> Result<()> {
    unless_closed(writeln!(std::io::stdout(), "{line}"))
}

/// Nobody may be reading, which must not stop a run.
pub(crate) fn to_error(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The outcome of writing to standard output.
pub(crate) fn unless_closed(written: std::io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}
