//! A folder with a tiny base model and tiny data files, and the program at work in it.

mod material;
mod program;
mod run;
mod t5;

pub(crate) use material::{Place, Random};
pub(crate) use program::{Ended, train, train_t5, train_task};
pub(crate) use run::{Run, files_below, kill_when};
