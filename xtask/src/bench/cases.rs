//! What is measured where nothing else is asked for, and what is to be reached.

use serde_json::{Value, json};

use super::options::{Options, What};

/// The methods whose step is measured.
pub(crate) const METHODS: [&str; 14] = [
    "lora",
    "dora",
    "adalora",
    "ia3",
    "prefix",
    "prompt",
    "ptuning",
    "adapter",
    "layernorm",
    "bitfit",
    "last-layers",
    "head",
    "fish",
    "full",
];

/// One thing to measure, by everybody.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    pub(crate) model: String,
    pub(crate) method: String,
    pub(crate) batch: usize,
    pub(crate) sequence: usize,
    pub(crate) target: usize,
    pub(crate) dropout: f64,
    pub(crate) fill: f64,
    /// What it is computed with, where that is not f32 on a CPU.
    pub(crate) setting: String,
}

impl Case {
    /// `minilm-l6 lora 16×128`.
    pub(crate) fn name(&self) -> String {
        let Self { model, method, batch, sequence, .. } = self;
        let target = if self.makes_text() { format!("→{}", self.target) } else { String::new() };
        let mut name = format!("{model} {method} {batch}×{sequence}{target}");
        for (what, value, usual) in [("dropout", self.dropout, 0.0), ("fill", self.fill, 1.0)] {
            if value != usual {
                name.push_str(&format!(" {what} {value}"));
            }
        }
        name + &self.setting
    }

    /// What a worker is told.
    pub(crate) fn spec(&self, peer: &str, threads: usize) -> Value {
        json!({
            "peer": peer,
            "model": self.model,
            "method": self.method,
            "batch": self.batch,
            "sequence": self.sequence,
            "target": self.target,
            "dropout": self.dropout,
            "fill": self.fill,
            "threads": threads,
        })
    }

    fn makes_text(&self) -> bool {
        self.model.contains("t5")
    }

    /// Whether the model has what the method trains: a T5 has neither biases nor, where it makes texts, a new head.
    fn is_there(&self) -> bool {
        !(self.makes_text() && ["bitfit", "head"].contains(&self.method.as_str()))
    }

    /// The ratio to the faster PyTorch that is to be reached.
    pub(crate) fn bound(&self, what: What) -> f64 {
        match what {
            What::Step if self.method == "lora" && !self.makes_text() => 0.85,
            What::Forward => 0.85,
            What::Memory => 0.3,
            What::Epoch => 0.7,
            What::Start => 0.1,
            What::Step | What::Scale | What::Cache => 0.9,
        }
    }
}

/// The cases of a measurement.
pub(crate) fn cases(options: &Options) -> Vec<Case> {
    let large = ["minilm-l6", "bert-base", "t5-small"];
    let shapes: Vec<String> = match &options.models {
        Some(models) => models.clone(),
        None if options.quick => ["tiny", "tiny-t5"].map(String::from).to_vec(),
        None => large.map(String::from).to_vec(),
    };
    let mut cases = Vec::new();
    for (number, model) in shapes.iter().enumerate() {
        // Every method on the first shape; on the others the one that is compared across shapes.
        let usual: &[&str] = match options.what {
            What::Step if number == 0 || options.quick => &METHODS,
            What::Forward if number == 0 => &["base", "lora"],
            What::Forward => &["base"],
            _ => &["lora"],
        };
        let methods = options.methods.clone().unwrap_or_else(|| usual.iter().map(|name| name.to_string()).collect());
        let (batch, sequence) = match model.as_str() {
            model if model.starts_with("tiny") => (4, 16),
            model if model.starts_with("minilm") => (16, 128),
            _ => (8, 128),
        };
        let case = |method| Case {
            model: model.clone(),
            method,
            batch: options.batch.unwrap_or(batch),
            sequence: options.sequence.unwrap_or(sequence),
            target: options.target,
            dropout: options.dropout,
            fill: options.fill,
            setting: options.setting(),
        };
        cases.extend(methods.into_iter().map(case).filter(Case::is_there));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(what: What, line: &str) -> Vec<String> {
        let args: Vec<String> = line.split_whitespace().map(String::from).collect();
        cases(&Options::parse(what, &args).unwrap()).iter().map(Case::name).collect()
    }

    #[test]
    fn every_method_once_and_lora_on_every_shape() {
        let names = of(What::Step, "");
        assert_eq!(names.len(), METHODS.len() + 2);
        for name in ["minilm-l6 lora 16×128", "minilm-l6 full 16×128", "bert-base lora 8×128", "t5-small lora 8×128→32"]
        {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
        assert_eq!(of(What::Memory, ""), ["minilm-l6 lora 16×128", "bert-base lora 8×128", "t5-small lora 8×128→32"]);
    }

    #[test]
    fn what_is_asked_for_is_measured_where_it_exists() {
        assert_eq!(of(What::Step, "--models t5-small --methods head,ia3"), ["t5-small ia3 8×128→32"]);
        let small = of(What::Forward, "--models minilm-l3 --methods base --batch 2 --sequence 7 --fill 0.5");
        assert_eq!(small, ["minilm-l3 base 2×7 fill 0.5"]);
        let there = of(What::Step, "--models bert-base --methods lora --backend cuda --dtype bf16");
        assert_eq!(there, ["bert-base lora 8×128 bf16 on cuda"]);
        let parts = of(What::Memory, "--models bert-base --gradient-checkpointing");
        assert_eq!(parts, ["bert-base lora 8×128 gradient checkpointing"]);
    }
}
