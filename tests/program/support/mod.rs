//! A folder with a tiny base model and tiny data files, and the program at work in it.

mod material;
mod program;
mod run;

pub(crate) use material::{Place, Random};
pub(crate) use program::{Ended, train, train_task};
pub(crate) use run::{Run, files_below, kill_when};
