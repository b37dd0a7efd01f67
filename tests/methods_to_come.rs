//! The seam carries methods that have no crate yet: each is written here in a few lines, as a hook, and held against
//! the reference's numbers. When one of these fails, the frame has lost something that a method will need.

use burn::prelude::*;
use burn::tensor::activation::{relu, silu};
use peft::core::file::read_safetensors;
use peft::core::tensors::Tensors;
use peft::core::{Hooks, LinearOp, Sublayer};
use peft::prelude::*;
use rstest::rstest;

use crate::support::*;

fn tensors(path: &str) -> Tensors {
    let all = read_safetensors(&fixture("..").join(path)).unwrap();
    all.into_iter().map(|(key, data)| (key.trim_start_matches("base_model.model.").to_string(), data)).collect()
}

fn matrix(tensors: &Tensors, key: &str, device: &Device) -> Tensor<2> {
    Tensor::from_data(tensors[key].clone(), device)
}

/// `x·Wᵀ + b` with tensors in the file's layout.
fn linear(x: Tensor<3>, tensors: &Tensors, name: &str) -> Tensor<3> {
    let device = x.device();
    let weight = matrix(tensors, &format!("{name}.weight"), &device).transpose();
    let bias = Tensor::<1>::from_data(tensors[&format!("{name}.bias")].clone(), &device);
    burn::tensor::module::linear(x, weight, Some(bias))
}

/// Where a bottleneck adapter stands, in AdapterHub's names.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Placement {
    /// `seq_bn` (Pfeiffer): `LN(ad(LN(h + x)) + h + x)`.
    AfterNorm,
    /// `double_seq_bn` (Houlsby): `LN(ad(h) + h + x)`.
    AfterSublayer,
    /// `par_bn`: `LN(h + 4·ad(x) + x)`.
    Parallel,
}

struct Bottleneck {
    params: Tensors,
    placement: Placement,
}

impl Bottleneck {
    fn block(&self, name: &str, x: Tensor<3>) -> Tensor<3> {
        let down = linear(x, &self.params, &format!("{name}.adapter_down.0"));
        let active = if self.placement == Placement::AfterSublayer { silu(down) } else { relu(down) };
        linear(active, &self.params, &format!("{name}.adapter_up"))
    }
}

impl Hooks for Bottleneck {
    /// AdapterHub's head is a linear map, tanh and another on the first token: BERT's pooler and classifier.
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        match op.site.name() {
            "bert.pooler.dense" => linear(x, &self.params, "heads.a.1"),
            "classifier" => linear(x, &self.params, "heads.a.4"),
            _ => op.run(x),
        }
    }

    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        let name = format!("{}.adapters.a", at.site.name());
        if !self.params.contains_key(&format!("{name}.adapter_up.weight")) {
            return h;
        }
        let delta = match self.placement {
            Placement::AfterNorm => {
                let norm = at.norm.expect("BERT is post-norm");
                self.block(&name, norm.forward(h.clone() + at.residual.clone(), &Identity))
            }
            Placement::AfterSublayer => self.block(&name, h.clone()),
            Placement::Parallel => self.block(&name, at.residual.clone()) * 4.0,
        };
        h + delta
    }
}

#[rstest]
#[case("seq_bn", Placement::AfterNorm)]
#[case("double_seq_bn", Placement::AfterSublayer)]
#[case("par_bn", Placement::Parallel)]
fn bottleneck_adapters_are_adapterhubs(#[case] case: &str, #[case] placement: Placement) {
    let device = Device::flex();
    let base = fixture("../adapterhub/base");
    let bert = BertForSequenceClassification::from_folder(&base, Some(3), &device).unwrap().module;
    let io = tensors(&format!("adapterhub/{case}/io.safetensors"));
    let params = io.iter().filter_map(|(key, data)| Some((key.strip_prefix("param.")?.to_string(), data.clone())));
    let adapter = Bottleneck { params: params.collect(), placement };
    let got = bert.forward(&batch_of(&io, &device), &adapter);
    close(got, Tensor::from_data(io["out.logits"].clone(), &device));
}

/// DoRA: `m ⊙ (W + s·BA) / ‖W + s·BA‖`, which needs the weight the seam holds out.
struct Dora(Tensors);

impl Hooks for Dora {
    fn linear(&self, mut op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let (device, name) = (x.device(), op.site.name().to_string());
        if name == "classifier" {
            return linear(x, &self.0, "classifier");
        }
        let Some(magnitude) = self.0.get(&format!("{name}.lora_magnitude_vector")) else { return op.run(x) };
        let factor = |which: &str| matrix(&self.0, &format!("{name}.lora_{which}.weight"), &device).transpose();
        // r = 4, α = 16.
        let adapted = op.weight.clone() + factor("A").matmul(factor("B")) * 4.0;
        let norm = adapted.clone().square().sum_dim(0).sqrt();
        let magnitude = Tensor::<1>::from_data(magnitude.clone(), &device).unsqueeze::<2>();
        op.weight = adapted * (magnitude / norm);
        op.run(x)
    }
}

#[test]
fn dora_is_the_references() {
    let device = Device::flex();
    let dora = Dora(tensors("bert/lora_dora/adapter_model.safetensors"));
    let io = io("lora_dora");
    let got = bert(&device).forward(&batch_of(&io, &device), &dora);
    close(got, Tensor::from_data(io["out.logits"].clone(), &device));
}
