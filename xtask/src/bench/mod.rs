//! `cargo xtask bench`: what every method reaches, and what it costs beside others that compute the same.
//!
//! Speed is compared in one sitting: the subjects are processes that wait, and take turns step by step, so that what else
//! the machine does hits all of them. What was measured is kept as JSON below `target/bench`; pages and charts are made of
//! that alone.

mod accuracy;
mod cache;
mod cases;
mod chart;
mod epoch;
mod load;
mod measured;
mod options;
mod pages;
mod peers;
mod scale;
mod setup;
mod sitting;
mod start;
mod step;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;

pub(crate) use accuracy::{Accuracy, accuracy};
pub(crate) use options::{Options, What};
pub(crate) use pages::pages;
pub(crate) use setup::setup;

/// The programs that measuring needs.
pub(crate) const PROGRAMS: [&str; 2] = ["peft", "bench-worker"];

/// Where everything is that is measured with.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) root: PathBuf,
    /// The program `peft`.
    pub(crate) program: PathBuf,
    /// The worker of `benches/`.
    pub(crate) worker: PathBuf,
    pub(crate) options: Options,
}

/// Measures what the options ask for.
pub(crate) fn bench(bench: &Bench) -> Result<()> {
    let measured = match bench.options.what {
        What::Step | What::Forward | What::Memory => step::run(bench),
        What::Epoch => epoch::run(bench),
        What::Start => start::run(bench),
        What::Scale => scale::run(bench),
        What::Cache => cache::run(bench),
    };
    // A case that failed is no reason to leave out those that did not.
    if bench.options.write {
        pages(&bench.root)?;
    }
    measured
}

/// Where measurements of this workspace are kept.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join("target/bench")
}
