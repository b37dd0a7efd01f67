//! From arguments to what will run, without running it.
//!
//! Everything runs in the release profile, checks included: procedural macros and build scripts are then built
//! once for the program, the tests, clippy and the documentation, and Burn is compiled once, not once per profile.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::backends::Backends;
use crate::bench::{Accuracy, Options, What};
use crate::step::{Line, Step};

/// What one call of `cargo xtask` does.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Help,
    /// Build the program, then run it with these arguments in the caller's folder.
    Program {
        build: Line,
        args: Vec<String>,
    },
    /// Build the program and compare the methods with it.
    Accuracy {
        build: Line,
        what: Accuracy,
    },
    /// Build what measures, and measure.
    Bench {
        build: Line,
        options: Options,
    },
    /// Build the program with several backends and hold each against the fixtures.
    Backends {
        build: Line,
        asked: Backends,
    },
    /// Install what is compared with, by this interpreter.
    Setup(Option<PathBuf>),
    /// Make the book's tables and charts of what was measured before.
    Pages,
    /// Run these in the workspace's root, up to the first that fails.
    Steps(Vec<Step>),
}

/// Arguments that make no plan: one line that says what would.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Command(String),
    Backend(Option<String>),
    Argument { command: String, argument: String },
    Bench(String),
    Backends(String),
    Example(Option<String>),
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends = BACKENDS.join(", ");
        match self {
            Self::Command(name) => write!(f, "no command `{name}`; `cargo xtask help` lists them"),
            Self::Backend(Some(name)) => write!(f, "no backend `{name}`; there are {backends}"),
            Self::Backend(None) => write!(f, "`--backend` needs a name: {backends}"),
            Self::Bench(reason) | Self::Backends(reason) => write!(f, "{reason}"),
            Self::Example(Some(name)) => write!(f, "no example `{name}`; the folder examples/src/bin has them"),
            Self::Example(None) => write!(f, "`cargo xtask example` needs the name of a file in examples/src/bin"),
            Self::Argument { command, argument } => {
                write!(f, "`cargo xtask {command}` takes no argument, but got `{argument}`")
            }
        }
    }
}

/// The program's features that choose a backend; the first is its default.
const BACKENDS: [&str; 4] = ["flex", "cuda", "wgpu", "ndarray"];

/// Those of them that run on a GPU.
const GPUS: [&str; 2] = ["cuda", "wgpu"];

/// The program's commands that are passed on as they are.
const PROGRAM: [&str; 11] = [
    "train", "pretrain", "eval", "predict", "generate", "inspect", "merge", "combine", "convert", "adapters", "conform",
];

/// With one of these, a training run says itself what it wants.
const OWN_RUN: [&str; 7] = ["--config", "--recipe", "--model", "--train", "--resume", "--help", "-h"];

const QUICKSTART: &str = "assets/quickstart.toml";

/// What `args`, the words after `cargo xtask`, ask for in the workspace at `root`.
pub(crate) fn plan(args: &[String], root: &Path) -> Result<Plan, Usage> {
    let Some((command, rest)) = args.split_first() else {
        return Ok(Plan::Help);
    };
    let alone = |steps: Vec<Step>| match rest.first() {
        None => Ok(Plan::Steps(steps)),
        Some(flag) if is_help(flag) => Ok(Plan::Help),
        Some(argument) => Err(Usage::Argument { command: command.clone(), argument: argument.clone() }),
    };
    match command.as_str() {
        "check" => alone(check()),
        "check-backends" => alone(check_backends()),
        "tidy" => alone(vec![Step::Tidy]),
        "docs" => alone(vec![Step::Run { title: "book", line: Line::new("mdbook build docs") }]),
        "bench" => bench(rest),
        "backends" => backends(rest),
        "example" => example(rest, root),
        "test" => Ok(Plan::Steps(vec![Step::Run { title: "tests", line: test(rest) }])),
        name if PROGRAM.contains(&name) => program(name, rest, root),
        name if name == "help" || is_help(name) => Ok(Plan::Help),
        name => Err(Usage::Command(name.to_string())),
    }
}

fn backends(rest: &[String]) -> Result<Plan, Usage> {
    if rest.first().is_some_and(|flag| is_help(flag)) {
        return Ok(Plan::Help);
    }
    let asked = Backends::parse(rest, &BACKENDS).map_err(Usage::Backends)?;
    let names: Vec<&str> = asked.backends.iter().map(String::as_str).collect();
    Ok(Plan::Backends { build: built_with(&names, !asked.plain), asked })
}

/// The program with `backends` alone. Where one is a GPU's, Burn's fusion and autotuning are in it unless they are not wanted.
fn built_with(backends: &[&str], fused: bool) -> Line {
    let mut features = backends.to_vec();
    if fused && backends.iter().any(|backend| GPUS.contains(backend)) {
        features.extend(["fusion", "autotune"]);
    }
    let line = Line::new("cargo build --release --package peft-cli --no-default-features --features");
    line.args(&[features.join(",")])
}

fn bench(rest: &[String]) -> Result<Plan, Usage> {
    let Some((what, rest)) = rest.split_first() else { return Err(Usage::Bench(no_measurement(None))) };
    match (what.as_str(), rest) {
        ("accuracy", rest) => Ok(Plan::Accuracy {
            build: Line::new("cargo build --release --package peft-cli"),
            what: Accuracy::parse(rest).map_err(Usage::Bench)?,
        }),
        ("kernels", [flag]) if is_help(flag) => Ok(Plan::Help),
        ("kernels", rest) => Ok(Plan::Steps(vec![Step::Run { title: "kernels", line: kernels(rest) }])),
        ("--setup", []) => Ok(Plan::Setup(None)),
        ("--setup", [flag, python]) if flag == "--python" => Ok(Plan::Setup(Some(python.into()))),
        ("--write", []) => Ok(Plan::Pages),
        ("--setup", _) => Err(Usage::Bench("`bench --setup` takes --python PATH alone".to_string())),
        (flag, _) if is_help(flag) => Ok(Plan::Help),
        (name, rest) => match What::ALL.into_iter().find(|what| what.name() == name) {
            Some(what) => {
                let options = Options::parse(what, rest).map_err(Usage::Bench)?;
                Ok(Plan::Bench { build: worker(&options), options })
            }
            None => Err(Usage::Bench(no_measurement(Some(name)))),
        },
    }
}

/// Chosen together with the program, the worker shares its build.
fn worker(options: &Options) -> Line {
    let line = Line::new("cargo build --release --package peft-cli --package peft-bench");
    let backend = &options.backend;
    let mut features = vec![format!("peft-cli/{backend}"), format!("peft-bench/{backend}")];
    if options.on_gpu() {
        features.extend(["peft-cli/fusion", "peft-cli/autotune"].map(String::from));
    }
    if backend == BACKENDS[0] { line } else { line.args(&["--features".to_string(), features.join(",")]) }
}

/// Chosen together with the program, the kernels share its build.
fn kernels(rest: &[String]) -> Line {
    let line = Line::new("cargo bench --package peft-cli --package peft-kernels --bench kernels");
    if rest.is_empty() { line } else { line.args(&["--".to_string()]).args(rest) }
}

fn no_measurement(name: Option<&str>) -> String {
    let names: Vec<&str> = What::ALL.into_iter().map(What::name).collect();
    let names = format!("accuracy, kernels, {}, --setup or --write", names.join(", "));
    name.map_or_else(
        || format!("`cargo xtask bench` needs a name: {names}"),
        |name| format!("no `bench {name}`; there are {names}"),
    )
}

/// An example shares the program's build only when the two are chosen together.
fn example(rest: &[String], root: &Path) -> Result<Plan, Usage> {
    let Some((name, rest)) = rest.split_first() else { return Err(Usage::Example(None)) };
    if is_help(name) {
        return Ok(Plan::Help);
    }
    if !root.join("examples/src/bin").join(format!("{name}.rs")).exists() {
        return Err(Usage::Example(Some(name.clone())));
    }
    let line = Line::new("cargo run --release --package peft-examples --bin").args(std::slice::from_ref(name));
    let line = if rest.is_empty() { line } else { line.args(&["--".to_string()]).args(rest) };
    Ok(Plan::Steps(vec![Step::Run { title: "example", line }]))
}

fn is_help(word: &str) -> bool {
    word == "--help" || word == "-h"
}

fn program(command: &str, rest: &[String], root: &Path) -> Result<Plan, Usage> {
    let (backend, rest) = take_backend(rest)?;
    let mut args = vec![command.to_string()];
    if command == "train" && !names_own_run(&rest) {
        args.push("--config".to_string());
        args.push(root.join(QUICKSTART).display().to_string());
    }
    args.extend(rest);
    let build = match backend.as_str() {
        "flex" => Line::new("cargo build --release --package peft-cli"),
        backend => built_with(&[backend], true),
    };
    Ok(Plan::Program { build, args })
}

/// Takes `--backend NAME` or `--backend=NAME` out of the words before a lone `--`; the last one counts.
fn take_backend(args: &[String]) -> Result<(String, Vec<String>), Usage> {
    let mut backend = BACKENDS[0].to_string();
    let mut rest = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let name = if word == "--" {
            rest.push(word.clone());
            rest.extend(words.cloned());
            break;
        } else if word == "--backend" {
            words.next().ok_or(Usage::Backend(None))?
        } else if let Some(name) = word.strip_prefix("--backend=") {
            name
        } else {
            rest.push(word.clone());
            continue;
        };
        if !BACKENDS.contains(&name) {
            return Err(Usage::Backend(Some(name.to_string())));
        }
        backend = name.to_string();
    }
    Ok((backend, rest))
}

fn names_own_run(args: &[String]) -> bool {
    let flag = |word: &String| word.split('=').next().unwrap_or_default().to_string();
    let own = |word: &String| OWN_RUN.contains(&flag(word).as_str());
    args.iter().take_while(|word| *word != "--").any(own)
}

fn test(args: &[String]) -> Line {
    let chooses = |word: &String| word.starts_with("-p") || word.starts_with("--package");
    // Beside `--workspace`, cargo would pass over `--package` in silence.
    let line = match args.iter().take_while(|word| *word != "--").any(chooses) {
        true => Line::new("cargo test --release"),
        false => Line::new("cargo test --release --workspace"),
    };
    line.args(args)
}

/// Cheapest first, so that a slip is found in a second and not behind a build.
fn check() -> Vec<Step> {
    let installed = |title, probe, line| Step::IfInstalled { title, probe: Line::new(probe), line: Line::new(line) };
    vec![
        Step::Run { title: "format", line: Line::new("cargo fmt --all -- --check") },
        Step::Tidy,
        installed("spelling", "typos --version", "typos"),
        installed("licences and advisories", "cargo deny --version", "cargo deny check"),
        installed("book", "mdbook --version", "mdbook build docs"),
        Step::Run {
            title: "clippy",
            line: Line::new("cargo clippy --release --workspace --all-targets -- -D warnings"),
        },
        Step::Run {
            title: "documentation",
            // The libraries alone: the program shares its name with the façade, and their pages would collide.
            line: Line::new("cargo doc --release --workspace --no-deps --lib").env("RUSTDOCFLAGS", "-D warnings"),
        },
    ]
}

/// Each backend on its own, as a user builds it: a feature that compiles only beside another is a bug.
fn check_backends() -> Vec<Step> {
    let line = |feature| {
        Line::new("cargo check --release --package peft-cli --no-default-features --features").args(&[feature])
    };
    let run = |title, line| Step::Run { title, line };
    vec![
        run("ndarray", line("ndarray".to_string())),
        run("wgpu", line("wgpu".to_string())),
        // The build scripts below CUDA download LLVM, unless they believe to be on docs.rs, where no code is generated.
        run("cuda", line("cuda".to_string()).env("DOCS_RS", "1")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    fn planned(line: &str) -> Result<Plan, Usage> {
        plan(&words(line), Path::new("repo"))
    }

    /// The build line and the program's arguments.
    fn built(line: &str) -> (String, String) {
        match planned(line) {
            Ok(Plan::Program { build, args }) => (build.to_string(), args.join(" ")),
            other => panic!("`{line}` gave {other:?}"),
        }
    }

    fn steps(line: &str) -> Vec<String> {
        let Ok(Plan::Steps(steps)) = planned(line) else {
            panic!("`{line}` makes no steps");
        };
        let shown = |step| match step {
            Step::Tidy => "tidy".to_string(),
            Step::Run { line, .. } | Step::IfInstalled { line, .. } => line.to_string(),
        };
        steps.into_iter().map(shown).collect()
    }

    #[test]
    fn help_is_what_no_arguments_and_every_spelling_give() {
        for line in ["", "help", "--help", "-h", "check --help", "tidy -h"] {
            assert_eq!(planned(line), Ok(Plan::Help), "{line}");
        }
    }

    #[test]
    fn training_without_a_run_of_its_own_is_the_quickstart() {
        let cpu = "cargo build --release --package peft-cli";
        let quickstart = Path::new("repo").join(QUICKSTART).display().to_string();
        let (build, args) = built("train");
        assert_eq!((build.as_str(), args), (cpu, format!("train --config {quickstart}")));
        let (_, args) = built("train --epochs 1");
        assert_eq!(args, format!("train --config {quickstart} --epochs 1"));
        for own in ["--config a.toml", "--config=a.toml", "--model m", "--train t", "--resume r", "--help", "-h"] {
            assert_eq!(built(&format!("train {own}")).1, format!("train {own}"));
        }
        // What stands behind `--` is the program's text, not its flags; and only training has a quickstart.
        assert!(built("train -- --config x").1.starts_with("train --config repo"));
        assert_eq!(built("conform dir").1, "conform dir");
    }

    #[test]
    fn a_backend_is_a_build_of_its_own_and_never_reaches_the_program() {
        let cuda = "cargo build --release --package peft-cli --no-default-features --features cuda,fusion,autotune";
        for line in [
            "eval --backend cuda --rows 3",
            "eval --rows 3 --backend=cuda",
            "eval --backend flex --rows 3 --backend cuda",
        ] {
            assert_eq!(built(line), (cuda.to_string(), "eval --rows 3".to_string()), "{line}");
        }
        assert_eq!(built("eval --backend flex").0, built("eval").0);
        assert_eq!(built("predict -- --backend cuda").1, "predict -- --backend cuda");
    }

    #[test]
    fn backends_are_compared_in_one_program_that_has_them_all() {
        let built = |line: &str| match planned(line) {
            Ok(Plan::Backends { build, .. }) => build.to_string(),
            other => panic!("`{line}` gave {other:?}"),
        };
        assert!(built("backends").ends_with("--features flex,ndarray,wgpu,fusion,autotune"));
        assert!(built("backends --backends wgpu --plain").ends_with("--features wgpu"));
        assert!(built("backends --backends ndarray").ends_with("--features ndarray"));
        assert!(planned("backends --backends tpu").unwrap_err().to_string().contains("there are flex, cuda"));
    }

    #[test]
    fn wrong_arguments_say_what_would_be_right() {
        let said = |line: &str| planned(line).unwrap_err().to_string();
        assert_eq!(said("train --backend rocm"), "no backend `rocm`; there are flex, cuda, wgpu, ndarray");
        assert_eq!(said("train --backend"), "`--backend` needs a name: flex, cuda, wgpu, ndarray");
        assert_eq!(said("trian"), "no command `trian`; `cargo xtask help` lists them");
        assert_eq!(said("tidy now"), "`cargo xtask tidy` takes no argument, but got `now`");
    }

    #[test]
    fn a_comparison_is_made_with_the_program_as_it_is_built_by_default() {
        assert!(matches!(planned("bench accuracy --seeds 0"), Ok(Plan::Accuracy { .. })));
        assert!(planned("bench").unwrap_err().to_string().contains("needs a name"));
        let Ok(Plan::Bench { build, options }) = planned("bench step --runs 3") else { panic!("a step is measured") };
        assert!(build.to_string().ends_with("--package peft-cli --package peft-bench"), "{build}");
        assert_eq!((options.what, options.runs), (What::Step, Some(3)));
        let Ok(Plan::Bench { build, .. }) = planned("bench step --backend ndarray") else {
            panic!("a step is measured")
        };
        assert!(build.to_string().ends_with("--features peft-cli/ndarray,peft-bench/ndarray"), "{build}");
        assert_eq!(planned("bench --setup --python py"), Ok(Plan::Setup(Some("py".into()))));
        assert_eq!(planned("bench --write"), Ok(Plan::Pages));
        let kernels = "cargo bench --package peft-cli --package peft-kernels --bench kernels";
        assert_eq!(steps("bench kernels"), [kernels]);
        assert_eq!(steps("bench kernels products"), [format!("{kernels} -- products")]);
        assert_eq!(planned("bench kernels --help"), Ok(Plan::Help));
        assert!(planned("bench walk").unwrap_err().to_string().contains("there are accuracy, kernels, step, forward"));
        assert!(planned("example none").unwrap_err().to_string().contains("no example `none`"));
    }

    #[test]
    fn tests_take_the_arguments_of_cargo() {
        for (args, line) in [
            ("", "cargo test --release --workspace"),
            ("law -- --nocapture", "cargo test --release --workspace law -- --nocapture"),
            ("-p peft-lora law", "cargo test --release -p peft-lora law"),
            ("--package=peft-lora", "cargo test --release --package=peft-lora"),
        ] {
            assert_eq!(steps(&format!("test {args}")), [line]);
        }
    }

    #[test]
    fn checks_are_cheapest_first_and_share_one_profile() {
        let check = steps("check");
        assert_eq!(check[..2], ["cargo fmt --all -- --check", "tidy"]);
        assert!(check.last().is_some_and(|line| line.contains("cargo doc")));
        for line in check.iter().chain(&steps("check-backends")) {
            let builds = ["clippy", "cargo doc", "cargo check"].iter().any(|tool| line.contains(tool));
            assert_eq!(builds, line.contains("--release"), "{line}");
        }
    }

    #[test]
    fn every_backend_but_the_default_is_checked_alone() {
        let checked = steps("check-backends");
        for backend in &BACKENDS[1..] {
            let end = format!("--no-default-features --features {backend}");
            assert_eq!(checked.iter().filter(|line| line.ends_with(&end)).count(), 1, "{backend}");
        }
        assert!(checked.iter().any(|line| line.starts_with("DOCS_RS=1 ") && line.ends_with("cuda")));
    }

    #[test]
    fn the_help_names_every_command_and_backend() {
        let commands = ["check", "check-backends", "backends", "tidy", "docs", "test", "bench", "example", "help"];
        for name in commands.iter().chain(&PROGRAM).chain(&BACKENDS) {
            assert!(crate::HELP.contains(name), "{name}");
        }
    }
}
