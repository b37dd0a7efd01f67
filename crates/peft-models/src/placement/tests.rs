use burn::module::ModuleVisitor;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::any::{AnyModel, Head};
use crate::config::ModelConfig;
use crate::error::Error;

fn t5(tied: bool) -> AnyModel {
    let config = json!({
        "vocab_size": 40, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "tie_word_embeddings": tied,
    });
    let config = ModelConfig::T5(serde_json::from_value(config).unwrap());
    AnyModel::new(&config, Head::Text, 0, &Device::flex()).unwrap()
}

fn bert(head: Head) -> AnyModel {
    let config = json!({
        "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 12, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 16,
    });
    let config = ModelConfig::Bert(serde_json::from_value(config).unwrap());
    AnyModel::new(&config, head, 3, &Device::flex()).unwrap()
}

fn names(units: &[Unit]) -> Vec<&str> {
    units.iter().map(|unit| unit.name.as_str()).collect()
}

// The sizes are those of `accelerate.utils.compute_module_sizes` (Accelerate 1.15, Transformers 5).
#[test]
fn the_units_of_a_t5() {
    let units = units(&t5(true));
    let sizes: Vec<(&str, u64)> = units.iter().map(|unit| (unit.name.as_str(), unit.bytes)).collect();
    let want = [
        ("shared", 2560),
        ("encoder.block.0", 6336),
        ("encoder.block.1", 6272),
        ("encoder.final_layer_norm", 64),
        ("decoder.block.0", 9472),
        ("decoder.block.1", 9408),
        ("decoder.block.2", 9408),
        ("decoder.final_layer_norm", 64),
    ];
    assert_eq!(sizes, want);
    assert_eq!(names(&super::units(&t5(false))).last(), Some(&"lm_head"));
}

#[rstest]
#[case::sequence(Head::Sequence, &["bert.pooler", "classifier"])]
#[case::tokens(Head::Token, &["classifier"])]
#[case::answers(Head::QuestionAnswering, &["qa_outputs"])]
#[case::words(Head::MaskedLm, &["cls"])]
fn the_units_of_a_bert(#[case] head: Head, #[case] end: &[&str]) {
    let model = bert(head);
    let units = units(&model);
    let layers: Vec<String> = (0..12).map(|i| format!("bert.encoder.layer.{i}")).collect();
    let want: Vec<&str> = ["bert.embeddings"].into_iter().chain(layers.iter().map(String::as_str)).collect();
    assert_eq!(names(&units), [&want, end].concat());
    let bytes: u64 = units.iter().map(|unit| unit.bytes).sum();
    assert_eq!(bytes, 4 * model.num_params() as u64);
}

fn five() -> Vec<Unit> {
    let unit = |(name, bytes): (&str, u64)| Unit { name: name.into(), bytes };
    [("words", 100), ("layer.0", 50), ("layer.1", 50), ("norm", 1), ("head", 30)].map(unit).to_vec()
}

#[rstest]
#[case::one(&[231], &["words, layer.0-1, norm, head"])]
#[case::exact(&[200, 31], &["words, layer.0-1", "norm, head"])]
#[case::a_layer_is_not_split(&[199, 81], &["words, layer.0", "layer.1, norm, head"])]
#[case::nothing_goes_back(&[149, 51, 81], &["words", "layer.0", "layer.1, norm, head"])]
#[case::a_device_too_small_for_the_first(&[99, 231], &["nothing", "words, layer.0-1, norm, head"])]
#[case::more_than_enough(&[1000, 1000], &["words, layer.0-1, norm, head", "nothing"])]
fn units_fill_devices_in_order(#[case] budgets: &[u64], #[case] held: &[&str]) {
    let budgets: Vec<(String, u64)> = budgets.iter().map(|budget| ("cpu".to_string(), *budget)).collect();
    let shares = assign(five(), &budgets).unwrap();
    let shown: Vec<String> = shares.iter().map(Share::to_string).collect();
    assert_eq!(shown.len(), held.len());
    for (shown, held) in shown.iter().zip(held) {
        assert!(shown.starts_with(&format!("cpu: {held} (")), "{shown}");
    }
    assert!(shares.iter().all(|share| share.bytes() <= share.budget));
    assert_eq!(shares.iter().flat_map(|share| share.units.clone()).collect::<Vec<_>>(), five());
}

#[rstest]
#[case::one(&[230], "`head` takes 30 bytes, and b0 has 29 bytes of its 230 bytes left: it is 1 bytes too small; give it 231 bytes")]
#[case::last(&[100, 90], "`layer.1` takes 50 bytes, and b1 has 40 bytes of its 90 bytes left: it is 41 bytes too small; give it 131 bytes")]
#[case::none(&[10, 0], "`words` takes 100 bytes, and b1 has 0 bytes of its 0 bytes left: it is 231 bytes too small; give it 231 bytes")]
fn what_does_not_fit_is_named_and_what_is_missing_is_enough(#[case] budgets: &[u64], #[case] says: &str) {
    let named = |budgets: &[u64]| -> Vec<(String, u64)> {
        budgets.iter().enumerate().map(|(i, budget)| (format!("b{i}"), *budget)).collect()
    };
    let error = assign(five(), &named(budgets)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(says) && text.ends_with("(the whole model takes 231 bytes)"), "{text}");
    let Error::Memory(shortage) = error else { panic!("{error:?}") };
    let mut enough = budgets.to_vec();
    *enough.last_mut().unwrap() = shortage.needed - 1;
    assert!(assign(five(), &named(&enough)).is_err());
    *enough.last_mut().unwrap() = shortage.needed;
    assert!(assign(five(), &named(&enough)).is_ok());
}

#[test]
fn a_share_says_what_it_holds() {
    let shares = assign(units(&t5(true)), &[("cuda:0".into(), 20_000), ("cpu".into(), 1 << 20)]).unwrap();
    let shown: Vec<String> = shares.iter().map(Share::to_string).collect();
    let want = [
        "cuda:0: shared, encoder.block.0-1, encoder.final_layer_norm (14.9 KiB of 19.5 KiB)",
        "cpu: decoder.block.0-2, decoder.final_layer_norm (27.7 KiB of 1.0 MiB)",
    ];
    assert_eq!(shown, want);
}

#[test]
fn placing_initialises_nothing() {
    struct Fresh;
    impl ModuleVisitor for Fresh {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            assert!(!param.is_initialized());
        }
    }
    let (model, device) = (t5(true), Device::flex());
    let shares = assign(units(&model), &[("a".into(), 20_000), ("b".into(), 1 << 20)]).unwrap();
    let map = DeviceMap::new(&shares, &[device.clone(), device.clone()]);
    map.place(model).visit(&mut Fresh);
    assert_eq!(map.devices(), [device]);
}
