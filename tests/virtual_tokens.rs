//! Prefixes and prompts at the seam, against the reference's numbers, before their methods exist.
//!
//! The hooks here hold just the tensors; the methods that train them come with crates of their own.

use burn::prelude::*;
use peft::core::file::read_safetensors;
use peft::core::tensors::Tensors;
use peft::core::{BatchRows, Hooks, KeyValue, LinearOp, Prompt, Routed, Site, Spans};
use peft::models::bert::BertConfig;
use rstest::rstest;

use crate::support::*;

/// The head the reference trained with its prompt: a stand-in for `modules_to_save`.
struct Head {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Head {
    fn linear(&self, mut op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        if op.site.name() == "classifier" {
            op.weight = self.weight.clone();
            op.bias = Some(self.bias.clone());
        }
        op.run(x)
    }
}

struct Prefix {
    /// `[p, 2·L, heads, d_head]`.
    slots: Tensor<4>,
    head: Head,
}

struct SoftPrompt {
    /// `[p, H]`.
    tokens: Tensor<2>,
    head: Head,
}

impl Hooks for Prefix {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.head.linear(op, x)
    }
    fn prefix_spans(&self, _at: &Site, rows: &BatchRows) -> Spans {
        Spans::uniform(self.slots.dims()[0], rows.len())
    }
    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        let layer: usize = at.name().split('.').find_map(|part| part.parse().ok()).unwrap();
        let slot = |i: usize| {
            let one: Tensor<4> = self.slots.clone().narrow(1, i, 1).permute([1, 2, 0, 3]);
            one.repeat_dim(0, rows.len())
        };
        Some(KeyValue { key: slot(2 * layer), value: slot(2 * layer + 1) })
    }
}

impl Hooks for SoftPrompt {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.head.linear(op, x)
    }
    fn prompt(&self, _at: &Site, rows: &BatchRows) -> Option<Prompt> {
        Some(Prompt::shared(self.tokens.clone(), rows.len(), false))
    }
}

fn adapter(case: &str) -> (Tensors, Tensors) {
    (read_safetensors(&fixture(case).join("adapter_model.safetensors")).unwrap(), io(case))
}

fn hooks(case: &str, positions: Option<usize>, device: &Device) -> Box<dyn Hooks> {
    let (file, _) = adapter(case);
    let config = BertConfig::from_folder(&fixture("base")).unwrap();
    let head = Head {
        weight: Tensor::<2>::from_data(file["base_model.classifier.weight"].clone(), device).transpose(),
        bias: Tensor::from_data(file["base_model.classifier.bias"].clone(), device),
    };
    let mut table = Tensor::<2>::from_data(file["prompt_embeddings"].clone(), device);
    if let Some(n) = positions {
        table = table.narrow(0, 0, n);
    }
    let p = table.dims()[0];
    match case {
        "prefix" => {
            let shape = [p, 2 * config.num_hidden_layers, config.num_attention_heads, config.head_size()];
            Box::new(Prefix { slots: table.reshape(shape), head })
        }
        _ => Box::new(SoftPrompt { tokens: table, head }),
    }
}

#[rstest]
fn logits_are_the_references(#[values("prefix", "prompt")] case: &str) {
    let device = Device::flex();
    let (_, io) = adapter(case);
    let got = bert(&device).forward(&batch_of(&io, &device), &*hooks(case, None, &device));
    close(got, Tensor::from_data(io["out.logits"].clone(), &device));
}

#[rstest]
fn rows_of_different_lengths_equal_separate_runs(#[values("prefix", "prompt")] case: &str) {
    let device = Device::flex();
    let (bert, batch) = (bert(&device), three_rows(&device));
    let (long, short) = (hooks(case, None, &device), hooks(case, Some(2), &device));
    let mixed = bert.forward(&batch, &Routed::new(vec![Some((1, &*short)), None, Some((0, &*long))]));
    let row = |hooks: &dyn Hooks, i: usize| bert.forward(&batch, hooks).narrow(0, i, 1);
    let want = vec![row(&*short, 0), row(&peft::core::Identity, 1), row(&*long, 2)];
    // A prompt pools at its first virtual token; a row without one, or with a shorter one, at its own first.
    close(mixed, Tensor::cat(want, 0));
}
