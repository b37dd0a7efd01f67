//! What every method is held to, tried on LoRA: identity when fresh, gradients for the adapter alone, exact merging.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use peft::core::tensors::{export, export_gradients};
use peft::core::{Error, param_ids};
use peft::lora::Bias;
use peft::prelude::*;
use rstest::rstest;

use crate::support::*;

fn autodiff() -> Device {
    let device = Device::flex().autodiff();
    device.seed(7);
    device
}

#[test]
fn a_fresh_adapter_is_the_base_and_a_trained_one_is_not() {
    let device = autodiff();
    let bert = bert(&device);
    let base = bert.forward(&batch(&device), &Identity);
    let fresh = lora(&bert, 4);
    close(bert.forward(&batch(&device), &fresh), base.clone());
    let trained = shaken(fresh);
    far(bert.forward(&batch(&device), &trained), base.clone());
    // Disabled is another argument of the same call; the base was never touched.
    let disabled = bert.forward(&batch(&device), &Identity).into_data();
    disabled.assert_eq(&base.into_data(), true);
}

#[rstest]
#[case::plain(false)]
#[case::recomputed(true)]
fn only_the_adapter_and_its_head_get_gradients(#[case] recompute: bool) {
    let device = if recompute { autodiff().gradient_checkpointing() } else { autodiff() };
    let bert = bert(&device).no_grad();
    let adapter = shaken(lora(&bert, 4));
    let gradients = bert.forward(&batch(&device), &adapter).powf_scalar(2.0).sum().backward();
    let got = export_gradients(&adapter, &gradients);
    let parameters: BTreeSet<String> = export(&adapter).into_keys().collect();
    assert_eq!(got.keys().cloned().collect::<BTreeSet<_>>(), parameters);
    for (name, gradient) in &got {
        assert!(gradient.iter::<f32>().any(|g| g != 0.0), "{name} is all zero");
    }
    let base: Vec<_> = param_ids(&bert);
    assert!(base.len() > 30);
    struct None(usize, burn::tensor::Gradients);
    impl burn::module::ModuleVisitor for None {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += usize::from(param.val().grad(&self.1).is_some());
        }
    }
    let mut none = None(0, gradients);
    bert.visit(&mut none);
    assert_eq!(none.0, 0, "base parameters with a gradient");
}

#[test]
fn merged_is_unmerged_and_merging_again_changes_nothing() {
    let device = Device::flex();
    let bert = bert(&device);
    let adapter = shaken(lora(&bert, 4));
    let want = bert.forward(&batch(&device), &adapter);
    let base = bert.forward(&batch(&device), &Identity);
    for _ in 0..2 {
        let merged = merge(bert.clone(), &adapter).unwrap();
        close(merged.forward(&batch(&device), &Identity), want.clone());
    }
    // Unmerged again is the kept base, exactly.
    bert.forward(&batch(&device), &Identity).into_data().assert_eq(&base.into_data(), true);
}

#[test]
fn compositions_run_and_merge_left_to_right() {
    // Each brings a head of its own: the last one stands, merged or not.
    let device = Device::flex();
    let bert = bert(&device);
    let (a, b, c) = (shaken(lora(&bert, 2)), shaken(lora(&bert, 3)), shaken(lora(&bert, 4)));
    let nested = ((a.clone(), b.clone()), c.clone());
    let other = (a, (b, c));
    let want = bert.forward(&batch(&device), &nested);
    close(bert.forward(&batch(&device), &other), want.clone());
    close(merge(bert.clone(), &nested).unwrap().forward(&batch(&device), &Identity), want.clone());
    close(merge(bert.clone(), &other).unwrap().forward(&batch(&device), &Identity), want);
}

/// The order matters, and merging keeps it: (IA)³ outside rescales what LoRA adds, inside it does not.
#[test]
fn ia3_and_lora_compose_both_ways() {
    let device = Device::flex();
    let bert = bert(&device);
    let ia3 = shaken(Ia3Config::new(["key", "value", "output.dense"], ["output.dense"]).init(&bert).unwrap());
    let lora = shaken(lora(&bert, 4));
    let (inner, outer) = ((ia3.clone(), lora.clone()), (lora, ia3));
    let (first, second) = (bert.forward(&batch(&device), &inner), bert.forward(&batch(&device), &outer));
    far(first.clone(), second.clone());
    close(merge(bert.clone(), &inner).unwrap().forward(&batch(&device), &Identity), first);
    close(merge(bert.clone(), &outer).unwrap().forward(&batch(&device), &Identity), second);
}

#[test]
fn trained_biases_compose_as_they_merge() {
    let device = Device::flex();
    let bert = bert(&device);
    let biased = |bias| {
        let config = LoraConfig { bias, ..LoraConfig::new(2).with_target_modules(["query"]) };
        shaken(config.init(&bert).unwrap())
    };
    let pair = ((biased(Bias::LoraOnly), shaken(lora(&bert, 4))), biased(Bias::All));
    let want = bert.forward(&batch(&device), &pair);
    close(merge(bert.clone(), &pair).unwrap().forward(&batch(&device), &Identity), want);
}

#[test]
fn a_merge_that_is_not_finite_is_refused_by_name() {
    struct Poison;
    impl ModuleMapper for Poison {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|old| old * f32::INFINITY)
        }
    }
    let device = Device::flex();
    let bert = bert(&device);
    let error = merge(bert.clone(), &lora(&bert, 4).map(&mut Poison)).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    assert!(error.to_string().contains("bert.encoder.layer.0.attention.self.query.weight"), "{error}");
}

#[test]
fn merging_into_a_smaller_model_names_what_it_lacks() {
    let device = Device::flex();
    let bert = bert(&device);
    let adapter = lora(&bert, 4);
    let config = BertConfig::from_folder(&fixture("base")).unwrap();
    let small = BertForSequenceClassification::new(&BertConfig { num_hidden_layers: 1, ..config }, 3, &device);
    let error = merge(small, &adapter).unwrap_err().to_string();
    assert!(error.contains("bert.encoder.layer.1.attention.self.query"), "{error}");
}

#[test]
fn a_frozen_backbone_is_invisible_but_moves() {
    let device = autodiff();
    let frozen = Frozen::new(bert(&device));
    assert_eq!(frozen.num_params(), 0);
    assert!(param_ids(&frozen).is_empty());
    assert_eq!(frozen.devices(), vec![device.clone()]);
    assert_eq!(frozen.valid().devices(), vec![device.inner()]);
}
