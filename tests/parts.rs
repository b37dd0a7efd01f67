//! Gradients of one layer at a time are those of one graph over the whole model, for every method.

use burn::optim::GradientsParams;
use burn::prelude::*;
use peft::core::{Draws, Method, with_own_draws};
use peft::models::bert::{AnyBert, BertConfig, BertHead};
use peft::models::t5::{T5EncoderForSequenceClassification, T5ForSequenceClassification, T5ForTokenClassification};
use peft::models::{Begun, IGNORED, Scorer, gradients_in_parts};
use peft::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use crate::every_method::{TASKS, make, names};
use crate::support::*;
use crate::t5::{config, t5, three};

/// Gradients of the scores' squares, with respect to each parameter.
type Found = Vec<(String, Option<TensorData>)>;

fn found(adapter: &Adapter<AnyMethod>, gradients: &GradientsParams) -> Found {
    struct Read<'a>(&'a GradientsParams, Found);
    impl burn::module::ModuleVisitor for Read<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).map(|gradient| gradient.into_data());
            self.1.push((param.id.to_string(), gradient));
        }
    }
    let mut read = Read(gradients, Vec::new());
    burn::module::Module::visit(adapter, &mut read);
    read.1
}

/// The two ways, each dropping the same, and the scores they are of.
fn both<M: Scorer>(model: &M, adapter: &Adapter<AnyMethod>, batch: &Batch) -> [(TensorData, Found); 2] {
    let start = Draws::here();
    let way = |parts: bool| {
        let mut seen = None;
        let mut loss = |scores: Tensor<3>| {
            seen = Some(scores.clone().into_data());
            scores.square().mean()
        };
        let gradients = match parts {
            true => gradients_in_parts(model, adapter, batch, 0, loss),
            false => GradientsParams::from_grads(loss(model.scores(batch, adapter)).backward(), adapter),
        };
        (seen.expect("scores"), found(adapter, &gradients))
    };
    [false, true].map(|parts| start.again(|| way(parts)))
}

/// Scores to the last bit; gradients too, where `exact`, or but for the order in which the parts' are added.
fn same<M: Scorer>(model: &M, adapter: &Adapter<AnyMethod>, batch: &Batch, exact: bool) {
    let [(want_scores, want), (scores, got)] = with_own_draws(5, || both(model, adapter, batch));
    assert_eq!(scores, want_scores);
    assert!(want.iter().any(|(_, gradient)| gradient.is_some()));
    for ((name, want), (_, got)) in want.iter().zip(&got) {
        assert_eq!(want.is_some(), got.is_some(), "{name}");
        let (Some(want), Some(got)) = (want, got) else { continue };
        let largest = want.iter::<f32>().fold(0.0f32, |max, x| max.max(x.abs()));
        let apart = got.iter::<f32>().zip(want.iter::<f32>()).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        let bound = if exact { 0.0 } else { 2e-6 * largest };
        assert!(apart <= bound, "{name}: {apart} apart at {largest}");
    }
}

/// A BERT of four layers, with dropout.
fn deep_bert() -> BertForSequenceClassification {
    let config: BertConfig = serde_json::from_value(json!({
        "vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 40, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2,
    }))
    .unwrap();
    let device = Device::flex().autodiff();
    device.seed(3);
    shaken(BertForSequenceClassification::new(&config, 3, &device)).no_grad()
}

#[test]
fn every_method_on_a_bert() {
    let (deep, device) = (deep_bert(), Device::flex().autodiff());
    assert!(deep.cut(&[]).is_some_and(|cut| cut.of() == 4));
    let batch = three_rows(&device).with_tasks(TASKS.to_vec());
    for name in names() {
        println!("{name}");
        match name {
            // What it trains is measured on the fixtures' model.
            "fish" => {
                let bert = bert(&device).no_grad();
                same(&bert, &make(name, &bert), &batch, false);
            }
            _ => same(&deep, &make(name, &deep), &batch, name == "lora"),
        }
    }
}

#[rstest]
#[case::token(BertHead::Token)]
#[case::answers(BertHead::QuestionAnswering)]
#[case::words(BertHead::MaskedLm)]
fn every_head_of_bert(#[case] head: BertHead) {
    let device = Device::flex().autodiff();
    let model = AnyBert::from_folder(&fixture("base"), head, Some(3), &device).unwrap().module.no_grad();
    let config = json!({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3});
    same(&model, &adapter(config, &model), &three_rows(&device), false);
    let config = json!({"peft_type": "LORA", "r": 2, "target_modules": ["query", "dense"]});
    same(&model, &adapter(config, &model), &three_rows(&device), true);
}

fn adapter(fields: Value, model: &impl Scorer) -> Adapter<AnyMethod> {
    let config = AnyConfig::from_json(fields.as_object().unwrap().clone()).unwrap();
    shaken(config.init(model).unwrap())
}

#[rstest]
#[case::lora(json!({"peft_type": "LORA", "r": 2, "target_modules": ["q", "v", "wo"], "lora_dropout": 0.1}))]
#[case::of_the_bias(json!({"peft_type": "LORA", "r": 2, "target_modules": ["relative_attention_bias", "shared"]}))]
#[case::ia3(json!({"peft_type": "IA3", "target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]}))]
#[case::prefix(json!({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}))]
#[case::prompt(json!({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}))]
#[case::everything(json!({"peft_type": "FULL"}))]
fn every_head_of_a_t5(#[case] fields: Value) {
    let device = Device::flex().autodiff();
    let more = || json!({"num_layers": 4, "dropout_rate": 0.1, "classifier_dropout": 0.1});
    let batch = three(&device);
    let writes = t5(more(), &device);
    same(&writes, &adapter(fields.clone(), &writes), &batch, false);
    // Two texts of the first row, none of the second.
    let choices = batch.clone().with_choices(vec![8, 3, 1, 11, 1, IGNORED, 2, 25, 1], vec![0, 0, 2]);
    same(&writes, &adapter(fields.clone(), &writes), &choices, false);
    let config = config(more());
    let token = shaken(T5ForTokenClassification::new(&config, 3, &device).unwrap()).no_grad();
    same(&token, &adapter(fields.clone(), &token), &batch, false);
    let encoder = shaken(T5EncoderForSequenceClassification::new(&config, 3, &device).unwrap()).no_grad();
    same(&encoder, &adapter(fields.clone(), &encoder), &batch, false);
    let sequence = shaken(T5ForSequenceClassification::new(&config, 3, &device).unwrap()).no_grad();
    same(&sequence, &adapter(fields, &sequence), &batch, false);
}

#[test]
fn what_was_begun_and_what_is_frozen_has_no_graph() {
    let bert = deep_bert();
    let batch = three_rows(&Device::flex().autodiff());
    let config =
        json!({"peft_type": "LORA", "r": 2, "target_modules": ["query", "dense"], "layers_to_transform": [2, 3]});
    let adapter = adapter(config, &bert);
    same(&bert, &adapter, &batch, true);
    let cut = bert.cut(&adapter.sites()).unwrap();
    assert_eq!(cut.layers(), 2);
    let begun = bert.begin(&batch, cut, &Identity);
    same(&bert, &adapter, &batch.with_begun(Begun::new(cut, begun.hidden)), true);
}
