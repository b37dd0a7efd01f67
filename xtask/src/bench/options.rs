//! What a call of `cargo xtask bench` asks for.

use std::path::PathBuf;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// One training step.
    Step,
    /// One forward pass.
    Forward,
    /// The most memory that training steps take.
    Memory,
    /// A pass over the shipped texts.
    Epoch,
    /// From the start of a process to the end of its first step.
    Start,
    /// How the time grows with length, batch and the number of adapters in a batch.
    Scale,
    /// The second epoch with and without the cache of hidden states.
    Cache,
}

impl What {
    pub(crate) const ALL: [Self; 7] =
        [Self::Step, Self::Forward, Self::Memory, Self::Epoch, Self::Start, Self::Scale, Self::Cache];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Forward => "forward",
            Self::Memory => "memory",
            Self::Epoch => "epoch",
            Self::Start => "start",
            Self::Scale => "scale",
            Self::Cache => "cache",
        }
    }
}

/// What is asked for, with everything that has a default still open where the default depends on what is measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) what: What,
    /// The interpreter of the Python peers; that of `--setup` if absent.
    pub(crate) python: Option<PathBuf>,
    /// Runs that count, for each subject.
    pub(crate) runs: Option<usize>,
    /// Runs before them.
    pub(crate) warmup: usize,
    pub(crate) threads: Option<usize>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) methods: Option<Vec<String>>,
    pub(crate) peers: Option<Vec<String>>,
    pub(crate) batch: Option<usize>,
    pub(crate) sequence: Option<usize>,
    pub(crate) target: usize,
    pub(crate) dropout: f64,
    /// The shortest row's share of the length.
    pub(crate) fill: f64,
    pub(crate) max_tokens: Option<usize>,
    /// What our side computes with.
    pub(crate) backend: String,
    /// The type of the frozen base.
    pub(crate) dtype: String,
    /// Whether steps keep what lies between layers alone, on both sides.
    pub(crate) gradient_checkpointing: bool,
    /// Small shapes and two runs: to see that everything works.
    pub(crate) quick: bool,
    /// Whether the pages in `docs/src` are made anew.
    pub(crate) write: bool,
}

impl Options {
    fn new(what: What) -> Self {
        Self {
            what,
            python: None,
            runs: None,
            warmup: 2,
            threads: None,
            models: None,
            methods: None,
            peers: None,
            batch: None,
            sequence: None,
            target: 32,
            dropout: 0.0,
            fill: 1.0,
            max_tokens: None,
            backend: "flex".to_string(),
            dtype: "f32".to_string(),
            gradient_checkpointing: false,
            quick: false,
            write: false,
        }
    }

    /// Reads `step --runs 5 --methods lora,ia3`.
    pub(crate) fn parse(what: What, args: &[String]) -> Result<Self, String> {
        let mut this = Self::new(what);
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => this.quick = true,
                "--write" => this.write = true,
                "--gradient-checkpointing" => this.gradient_checkpointing = true,
                _ if !VALUED.contains(&word.as_str()) => {
                    let known = VALUED.join(", ");
                    return Err(format!(
                        "`bench {}` takes --quick, --write, --gradient-checkpointing, {known}; not `{word}`",
                        what.name()
                    ));
                }
                _ => this.set(word, words.next().ok_or_else(|| format!("`{word}` needs a value"))?)?,
            }
        }
        match this.quick && this.write {
            true => Err("--quick only shows that everything works; leave it out to --write".to_string()),
            false => Ok(this),
        }
    }

    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        match word {
            "--python" => self.python = Some(value.into()),
            "--runs" => self.runs = Some(number(word, value)?),
            "--warmup" => self.warmup = value.parse().map_err(|_| format!("`{word}`: `{value}` is no number"))?,
            "--threads" => self.threads = Some(number(word, value)?),
            "--models" => self.models = Some(list(value)),
            "--methods" => self.methods = Some(list(value)),
            "--peers" => self.peers = Some(known_peers(value)?),
            "--batch" => self.batch = Some(number(word, value)?),
            "--sequence" => self.sequence = Some(number(word, value)?),
            "--target" => self.target = number(word, value)?,
            "--dropout" => self.dropout = share(word, value)?,
            "--fill" => self.fill = share(word, value)?,
            "--backend" => self.backend = one_of(word, value, &["flex", "ndarray", "wgpu", "cuda"])?,
            "--dtype" => self.dtype = one_of(word, value, &["f32", "f16", "bf16"])?,
            _ => self.max_tokens = Some(number(word, value)?),
        }
        Ok(())
    }

    /// Runs that count, where nothing else is asked for.
    pub(crate) fn runs(&self, usual: usize) -> usize {
        self.runs.unwrap_or(if self.quick { 2 } else { usual })
    }

    /// The cores that every subject uses.
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// What our side computes with, behind a blank each, where it is not f32 on the CPU with one graph.
    pub(crate) fn setting(&self) -> String {
        let dtype = if self.dtype == "f32" { String::new() } else { format!(" {}", self.dtype) };
        let backend = if self.backend == "flex" { String::new() } else { format!(" on {}", self.backend) };
        let graph = if self.gradient_checkpointing { " gradient checkpointing" } else { "" };
        dtype + &backend + graph
    }

    /// Whether our side runs on a GPU.
    pub(crate) fn on_gpu(&self) -> bool {
        ["wgpu", "cuda"].contains(&self.backend.as_str())
    }

    /// Whether this peer is wanted; `usual` says whether it is where nothing is asked for.
    pub(crate) fn wants(&self, peer: &str, usual: bool) -> bool {
        self.peers.as_ref().map_or(usual, |peers| peers.iter().any(|name| name == peer))
    }
}

/// Options with a value.
const VALUED: [&str; 15] = [
    "--python",
    "--runs",
    "--warmup",
    "--threads",
    "--models",
    "--methods",
    "--peers",
    "--batch",
    "--sequence",
    "--target",
    "--dropout",
    "--fill",
    "--backend",
    "--dtype",
    "--max-tokens",
];

fn list(value: &str) -> Vec<String> {
    value.split(',').map(String::from).collect()
}

fn known_peers(value: &str) -> Result<Vec<String>, String> {
    let peers = list(value);
    match peers.iter().find(|peer| !super::peers::ALL.contains(&peer.as_str())) {
        Some(peer) => Err(format!("no peer `{peer}`; there are {}", super::peers::ALL.join(", "))),
        None => Ok(peers),
    }
}

fn one_of(word: &str, value: &str, known: &[&str]) -> Result<String, String> {
    match known.contains(&value) {
        true => Ok(value.to_string()),
        false => Err(format!("`{word}`: no `{value}`; there are {}", known.join(", "))),
    }
}

fn number(word: &str, value: &str) -> Result<usize, String> {
    value.parse().ok().filter(|&number| number > 0).ok_or_else(|| format!("`{word}`: `{value}` is no number above 0"))
}

fn share(word: &str, value: &str) -> Result<f64, String> {
    let share = value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{word}`: `{value}` does not lie between 0 and 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(What::Step, &line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_or_refused_by_name() {
        let options = parse("--runs 3 --methods lora,ia3 --quick --dropout 0.1").unwrap();
        assert_eq!((options.runs(7), options.quick, options.dropout), (3, true, 0.1));
        assert_eq!(options.methods.unwrap(), ["lora", "ia3"]);
        assert_eq!((parse("").unwrap().runs(7), parse("--quick").unwrap().runs(7)), (7, 2));
        for (line, says) in [
            ("--runs", "`--runs` needs a value"),
            ("--runs 0", "`0` is no number above 0"),
            ("--fill 2", "does not lie between 0 and 1"),
            ("--steps 3", "not `--steps`"),
            ("--quick --write", "leave it out to --write"),
            ("--peers torch", "there are ours, composite, burn, torch-eager, torch-sdpa, torch-compile"),
            ("--backend tpu", "no `tpu`; there are flex, ndarray, wgpu, cuda"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn a_peer_is_wanted_if_it_is_named_or_usual() {
        assert!(parse("").unwrap().wants("ours", true) && !parse("").unwrap().wants("burn", false));
        let named = parse("--peers burn").unwrap();
        assert!(named.wants("burn", false) && !named.wants("ours", true));
    }
}
