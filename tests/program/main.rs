//! The program as its user runs it: every test starts the real executable in a folder of its own and looks at what it
//! prints, what it writes and how it ends.

#[path = "../../crates/peft-cli/src/hub/server.rs"]
mod server;
mod support;

mod adapters;
mod cache_frozen;
mod combine;
mod config_file;
mod conform;
mod convert;
mod counts;
mod determinism;
mod devices;
mod dtype;
mod gradient_checkpointing;
mod hub;
mod interop;
mod kill;
mod max_memory;
mod merge;
mod methods;
mod output_folder;
mod pipes;
mod pretrain;
mod recipes;
mod refused_data;
mod refused_models;
mod refused_options;
mod resume;
mod run_folder;
mod storage;
mod t5_files;
mod t5_heads;
mod t5_methods;
mod task_choice;
mod task_qa;
mod task_text;
mod task_token;
mod task_words;
mod use_adapter;
mod walkthrough;
