//! Numbers of trained parameters, as the reference counts them on bert-base.

use burn::module::Module;
use burn::prelude::*;
use peft::adapter::BottleneckConfig;
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
