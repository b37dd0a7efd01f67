//! The laws on a small transformer, and what is special to bottleneck adapters and their fusion.

mod config;
mod fusion;
mod laws;
mod method;
