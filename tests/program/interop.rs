//! Adapters of this program's in the reference libraries and theirs in this program, where there are such libraries.

use std::path::Path;
use std::process::Command;

use crate::support::{Ended, Place};

/// Runs `tests/interop/check.py` with the Python that `PEFT_PYTHON` names.
#[test]
fn the_references_libraries_compute_the_same() {
    let Some(python) = std::env::var_os("PEFT_PYTHON") else {
        eprintln!("skipped: PEFT_PYTHON names no Python that has torch and peft (see tests/interop/README.md)");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/check.py");
    let place = Place::new();
    let mut command = place.within(Command::new(python));
    let ended = Ended::of(command.arg(script).arg(env!("CARGO_BIN_EXE_peft")).output().unwrap());
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    assert!(ended.out.ends_with("compared, 0 differ\n"), "{}", ended.out);
    eprintln!("{}", ended.out);
}
