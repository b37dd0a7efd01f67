//! Numbers of trained parameters, as the reference counts them on bert-base.

use burn::module::Module;
use burn::prelude::*;
use peft::core::targets::Targets;
use peft::prelude::*;
use rstest::rstest;

fn bert_base() -> BertForSequenceClassification {
    let config = serde_json::json!({
        "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072,
    });
    BertForSequenceClassification::new(&serde_json::from_value::<BertConfig>(config).unwrap(), 2, &Device::flex())
}

// Hugging Face PEFT 0.21.2, print_trainable_parameters() on BertForSequenceClassification, bert-base-uncased's shape.
#[rstest]
#[case::rank_8(8, Targets::List(vec!["query".into(), "value".into()]), 296_450)]
#[case::rank_4(4, Targets::List(vec!["query".into(), "value".into()]), 148_994)]
#[case::all_linear(8, Targets::Pattern("all-linear".into()), 1_340_930)]
fn lora_trains_as_many_as_the_reference(#[case] rank: usize, #[case] targets: Targets, #[case] count: usize) {
    let bert = bert_base();
    let head = vec!["classifier".to_string()];
    let config =
        LoraConfig { target_modules: Some(targets), modules_to_save: Some(head.clone()), ..LoraConfig::new(rank) };
    let adapter = Adapter::new(config.init(&bert).unwrap(), &bert, &head, &[]).unwrap();
    assert_eq!(adapter.num_params(), count);
    assert_eq!(bert.num_params(), 109_483_778);
}

#[test]
fn ia3_trains_as_many_as_the_reference() {
    let bert = bert_base();
    let head = vec!["classifier".to_string()];
    let config = Ia3Config::new(["key", "value", "output.dense"], ["output.dense"]);
    let config = config.with_modules_to_save(["classifier"]);
    let adapter = Adapter::new(config.init(&bert).unwrap(), &bert, &head, &[]).unwrap();
    assert_eq!(adapter.num_params(), 66_050);
}
