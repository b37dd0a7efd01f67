//! Numbers of trained parameters, as the reference counts them on bert-base and t5-base.

use burn::module::Module;
use burn::prelude::*;
use peft::adapter::BottleneckConfig;
use peft::core::targets::Targets;
use peft::default_targets;
use peft::models::t5::{T5Config, T5ForConditionalGeneration};
use peft::prelude::*;
use rstest::rstest;
use serde_json::json;

fn bert_base() -> BertForSequenceClassification {
    let config = json!({
        "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072,
    });
    BertForSequenceClassification::new(&serde_json::from_value::<BertConfig>(config).unwrap(), 2, &Device::flex())
}

fn head() -> Option<Vec<String>> {
    Some(vec!["classifier".to_string()])
}

fn lora(rank: usize) -> LoraConfig {
    LoraConfig { modules_to_save: head(), ..LoraConfig::new(rank).with_target_modules(["query", "value"]) }
}

fn all_linear() -> LoraConfig {
    LoraConfig { target_modules: Some(Targets::Pattern("all-linear".into())), ..lora(8) }
}

fn prefix(projection: bool) -> PrefixConfig {
    PrefixConfig { prefix_projection: projection, modules_to_save: head(), ..PrefixConfig::new(20) }
}

fn ptuning() -> PTuningConfig {
    PTuningConfig { modules_to_save: head(), ..PTuningConfig::new(20).with_hidden(128) }
}

fn ia3() -> Ia3Config {
    Ia3Config::new(["key", "value", "output.dense"], ["output.dense"]).with_modules_to_save(["classifier"])
}

// Hugging Face PEFT 0.21.2, print_trainable_parameters() on BertForSequenceClassification, bert-base-uncased's shape.
#[rstest]
#[case::lora_8(AnyConfig::Lora(lora(8)), 296_450)]
#[case::lora_4(AnyConfig::Lora(lora(4)), 148_994)]
#[case::lora_all_linear(AnyConfig::Lora(all_linear()), 1_340_930)]
#[case::dora(AnyConfig::Lora(LoraConfig { use_dora: true, ..lora(8) }), 314_882)]
#[case::ia3(AnyConfig::Ia3(ia3()), 66_050)]
#[case::prefix(AnyConfig::Prefix(prefix(false)), 370_178)]
#[case::prefix_projection(AnyConfig::Prefix(prefix(true)), 14_781_698)]
#[case::prompt(AnyConfig::Prompt(PromptConfig::new(20).with_modules_to_save(["classifier"])), 16_898)]
#[case::ptuning_mlp(AnyConfig::PTuning(ptuning()), 230_914)]
#[case::ptuning_lstm(AnyConfig::PTuning(ptuning().with_lstm(2)), 1_594_882)]
// AdapterHub's adapters 1.3.0, without a head.
#[case::seq_bn(AnyConfig::Bottleneck(BottleneckConfig::seq_bn()), 894_528)]
#[case::double_seq_bn(AnyConfig::Bottleneck(BottleneckConfig::double_seq_bn()), 1_789_056)]
#[case::double_seq_bn_64(
    AnyConfig::Bottleneck(BottleneckConfig::double_seq_bn().with_reduction_factor(12.0)),
    2_379_264
)]
fn a_method_trains_as_many_as_the_reference(#[case] config: AnyConfig, #[case] count: usize) {
    let bert = bert_base();
    assert_eq!(config.init(&bert).unwrap().num_params(), count);
    assert_eq!(bert.num_params(), 109_483_778);
}

fn t5_base() -> T5ForConditionalGeneration {
    let config = json!({
        "vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12,
    });
    T5ForConditionalGeneration::new(&serde_json::from_value::<T5Config>(config).unwrap(), &Device::flex()).unwrap()
}

/// Parameters of the adapter that `fields` configure, with the reference's targets where they name none.
fn trained_on_t5(fields: serde_json::Value) -> usize {
    let mut fields = fields.as_object().unwrap().clone();
    let kind = fields["peft_type"].as_str().unwrap().to_string();
    if let Some(targets) = default_targets(&kind, "t5").filter(|_| !fields.contains_key("target_modules")) {
        fields.insert("target_modules".into(), serde_json::to_value(targets).unwrap());
    }
    AnyConfig::from_json(fields).unwrap().init(&t5_base()).unwrap().num_params()
}

#[test]
fn t5_base_is_as_large_as_the_references() {
    assert_eq!(t5_base().num_params(), 222_903_552);
}

// Hugging Face PEFT 0.21.2 and AdapterHub's adapters 1.3.0 on T5ForConditionalGeneration, t5-base's shape.
#[rstest]
#[case::lora(json!({"peft_type": "LORA", "r": 8}), 884_736)]
#[case::lora_of_rank_4(json!({"peft_type": "LORA", "r": 4}), 442_368)]
#[case::all_linear(json!({"peft_type": "LORA", "r": 8, "target_modules": "all-linear"}), 3_244_032)]
#[case::dora(json!({"peft_type": "LORA", "r": 8, "use_dora": true}), 940_032)]
#[case::ia3(json!({"peft_type": "IA3", "feedforward_modules": ["wo"]}), 129_024)]
#[case::prefix(json!({"peft_type": "PREFIX_TUNING"}), 368_640)]
#[case::projected_prefix(json!({"peft_type": "PREFIX_TUNING", "prefix_projection": true}), 14_780_160)]
#[case::prompt(json!({"peft_type": "PROMPT_TUNING"}), 30_720)]
#[case::ptuning(json!({"peft_type": "P_TUNING", "encoder_hidden_size": 128}), 244_736)]
#[case::ptuning_by_lstm(
    json!({"peft_type": "P_TUNING", "encoder_hidden_size": 128, "encoder_reparameterization_type": "LSTM"}),
    1_608_704
)]
fn methods_train_as_many_of_t5_as_the_reference(#[case] mut fields: serde_json::Value, #[case] count: usize) {
    if ["PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"].contains(&fields["peft_type"].as_str().unwrap()) {
        fields["num_virtual_tokens"] = json!(20);
        fields["task_type"] = json!("SEQ_2_SEQ_LM");
    }
    assert_eq!(trained_on_t5(fields), count);
}

#[rstest]
#[case::seq_bn(BottleneckConfig::seq_bn(), 1_789_056)]
#[case::double_seq_bn(BottleneckConfig::double_seq_bn(), 3_578_112)]
#[case::double_seq_bn_64(BottleneckConfig::double_seq_bn().with_reduction_factor(12.0), 4_758_528)]
fn bottlenecks_train_as_many_of_t5_as_the_reference(#[case] config: BottleneckConfig, #[case] count: usize) {
    assert_eq!(config.init(&t5_base()).unwrap().num_params(), count);
}
