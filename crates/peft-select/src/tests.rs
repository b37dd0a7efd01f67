//! What the choices promise, on a backbone that names no model.

use burn::module::Module;
use burn::prelude::*;
use peft_core::tensors::export;
use peft_core::{Adapter, Identity, merge};
use peft_testing::{Case, HIDDEN, INNER, Mini, VOCABULARY, close, ids, shake};
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::{Kind, SelectConfig, Selected};

/// A case of a configuration that an expression makes.
macro_rules! case {
    ($config:expr) => {
        Case {
            init: |mini| $config.init(mini).unwrap(),
            init_for_loading: |mini| $config.init_for_loading(mini).unwrap(),
            starts_as_base: true,
        }
    };
}

fn norms() -> Case<Selected> {
    case!(SelectConfig::ln_tuning(["norm"]))
}

fn inner_norms() -> Case<Selected> {
    case!(SelectConfig::ln_tuning(["norm"]).with_exclude_modules(["output.norm"]))
}

fn biases() -> Case<Selected> {
    case!(SelectConfig::bitfit().with_modules_to_save(["head"]))
}

fn two_biases() -> Case<Selected> {
    case!(SelectConfig::bitfit().with_target_modules(["query", "up"]))
}

fn last_layer() -> Case<Selected> {
    case!(SelectConfig::last_layers(1))
}

fn last_norms() -> Case<Selected> {
    case!(SelectConfig::last_layers(2).with_target_modules(["norm"]))
}

/// Without the head, or it would be no smaller than the base.
fn full() -> Case<Selected> {
    case!(SelectConfig::full().with_modules_to_save(["head"]))
}

/// Every embedding table and nothing else.
fn tables() -> Case<Selected> {
    case!(SelectConfig::full().with_target_modules(["words", "positions"]))
}

peft_testing::laws!(Selected {
    norms => norms(), inner_norms => inner_norms(), biases => biases(), two_biases => two_biases(),
    last_layer => last_layer(), last_norms => last_norms(), full => full(), tables => tables(),
});
peft_testing::merging_laws!(Selected {
    norms => norms(), inner_norms => inner_norms(), biases => biases(), two_biases => two_biases(),
    last_layer => last_layer(), last_norms => last_norms(), full => full(), tables => tables(),
});

/// What is trained together with a head: as it is used.
mod with_head {
    use super::*;

    fn head() -> Case<Adapter<Selected>> {
        Case {
            init: |mini| adapter(&SelectConfig::head(["head"]), mini),
            init_for_loading: |mini| adapter(&SelectConfig::head(["head"]), mini),
            starts_as_base: true,
        }
    }

    fn biases() -> Case<Adapter<Selected>> {
        Case {
            init: |mini| adapter(&SelectConfig::bitfit().with_modules_to_save(["head"]), mini),
            init_for_loading: |mini| adapter(&SelectConfig::bitfit().with_modules_to_save(["head"]), mini),
            starts_as_base: true,
        }
    }

    peft_testing::laws!(Adapter<Selected> { head => head(), biases => biases() });
    peft_testing::merging_laws!(Adapter<Selected> { head => head(), biases => biases() });
}

fn mini() -> Mini {
    Mini::new(&Device::flex())
}

fn adapter(config: &SelectConfig, mini: &Mini) -> Adapter<Selected> {
    Adapter::new(config.init(mini).unwrap(), mini, config.modules_to_save.as_deref().unwrap_or_default(), &[]).unwrap()
}

/// The names in a file, without what all of them begin with.
fn names(selected: &Selected) -> Vec<String> {
    export(selected).into_keys().map(|name| name.rsplit_once("model.").unwrap().1.to_string()).collect()
}

#[test]
fn each_kind_trains_its_own_part() {
    let mini = mini();
    let of = |config: SelectConfig| config.init(&mini).unwrap();
    assert_eq!(of(SelectConfig::ln_tuning(["norm"])).num_params(), 5 * 2 * HIDDEN);
    let biases = 2 * (6 * HIDDEN + INNER + HIDDEN) + HIDDEN + 3;
    assert_eq!(of(SelectConfig::bitfit()).num_params(), biases);
    assert_eq!(of(SelectConfig::full()).num_params(), mini.num_params());
    assert_eq!(of(SelectConfig::head(["head"])).num_params(), 0);
    let layer = 4 * (HIDDEN * HIDDEN + HIDDEN) + 2 * HIDDEN * INNER + INNER + HIDDEN + 2 * 2 * HIDDEN;
    assert_eq!(of(SelectConfig::last_layers(1)).num_params(), layer);
    assert_eq!(of(SelectConfig::last_layers(2)).num_params(), 2 * layer);
    assert_eq!(names(&of(SelectConfig::full().with_target_modules(["words"]))), ["words.weight"]);
    assert_eq!(of(SelectConfig::full().with_target_modules(["words"])).num_params(), VOCABULARY * HIDDEN);
    assert!(names(&of(SelectConfig::last_layers(1))).iter().all(|name| name.starts_with("layers.1.")));
    let two = SelectConfig::bitfit().with_target_modules(["query", "output.norm"]);
    let want = ["layers.0.output.norm.bias", "layers.0.query.bias", "layers.1.output.norm.bias", "layers.1.query.bias"];
    assert_eq!(names(&of(two)), want);
    let norm = SelectConfig::ln_tuning(["layers.0.output.norm"]);
    let want = ["layers.0.output.norm.ln_tuning_layers.bias", "layers.0.output.norm.ln_tuning_layers.weight"];
    assert_eq!(names(&of(norm)), want);
}

#[test]
fn what_is_saved_whole_is_not_copied_twice() {
    let mini = mini();
    let config = SelectConfig::full().with_modules_to_save(["head"]);
    let whole = adapter(&config, &mini);
    assert_eq!(whole.num_params(), mini.num_params());
    assert_eq!(export(&whole).len(), export(&SelectConfig::full().init(&mini).unwrap()).len());
}

#[test]
fn trained_biases_beside_other_hooks_are_what_merging_gives() {
    let mini = mini();
    let norms = shake(SelectConfig::full().with_target_modules(["norm", "query"]).init(&mini).unwrap(), 0.3);
    let biases = shake(SelectConfig::bitfit().init(&mini).unwrap(), 0.3);
    let x = || ids(2, &Device::flex());
    let merged = merge(merge(mini.clone(), &norms).unwrap(), &biases).unwrap();
    close(mini.forward(x(), &(norms, biases)), merged.forward(x(), &Identity));
}

#[rstest]
#[case(SelectConfig::new(Kind::LnTuning), "target_modules: name the normalisations")]
#[case(SelectConfig::ln_tuning(["query"]), "`query` matches no module of the model; the nearest names are")]
#[case(SelectConfig::bitfit().with_target_modules(["words"]), "`words` matches no module")]
#[case(SelectConfig::bitfit().with_exclude_modules(["wrods"]), "exclude_modules: `wrods` matches no module")]
#[case(SelectConfig::new(Kind::LastLayers), "num_layers: say how many")]
#[case(SelectConfig::last_layers(0), "num_layers: say how many")]
#[case(SelectConfig::last_layers(3), "num_layers: 3 is more than the model's 2 layers")]
#[case(SelectConfig::last_layers(1).with_target_modules(["words"]), "num_layers: none of the targets")]
#[case(SelectConfig { num_layers: Some(1), ..SelectConfig::full() }, "num_layers: FULL trains no number")]
#[case(SelectConfig::new(Kind::Head), "modules_to_save: `` matches no module of the model; the nearest names are head")]
#[case(SelectConfig::head(["haed"]), "modules_to_save: `haed` matches no module")]
#[case(SelectConfig::head(["head"]).with_target_modules(["query"]), "target_modules: HEAD trains modules_to_save")]
fn what_makes_no_sense_is_named(#[case] config: SelectConfig, #[case] says: &str) {
    let error = config.init(&mini()).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn names_for_another_model_are_passed_over_in_loading() {
    let mini = mini();
    let config = SelectConfig::ln_tuning(["norm", "ln_f"]);
    assert!(config.init(&mini).is_err());
    assert_eq!(config.init_for_loading(&mini).unwrap().sites_len(), 5);
}

impl Selected {
    fn sites_len(&self) -> usize {
        self.copies().sites().count()
    }
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The fields of a file that Hugging Face PEFT 0.21.2 wrote.
#[test]
fn the_references_configuration_comes_back_as_it_was() {
    let given = fields(json!({
        "auto_mapping": null, "base_model_name_or_path": null, "exclude_modules": null, "inference_mode": true,
        "modules_to_save": ["classifier", "score"], "peft_type": "LN_TUNING", "peft_version": "0.21.2",
        "revision": null, "target_modules": ["LayerNorm"], "task_type": "SEQ_CLS",
    }));
    let config = SelectConfig::from_json(given.clone()).unwrap();
    assert_eq!(config.to_json(), given);
    assert_eq!(config.unknown_fields().count(), 0);
    let mut default = SelectConfig::default().to_json();
    assert!(given.keys().all(|field| default.remove(field).is_some()) && default.is_empty());
}

#[rstest]
#[case(json!({"peft_type": "BITFIT", "target_modules": ["query"], "exclude_modules": "layers.0.*"}))]
#[case(json!({"peft_type": "LAST_LAYERS", "num_layers": 2, "modules_to_save": ["head"]}))]
#[case(json!({"peft_type": "HEAD", "modules_to_save": ["head"], "task_type": "SEQ_CLS"}))]
#[case(json!({"peft_type": "FULL", "a_field_of_next_year": {"x": 1}}))]
fn our_own_configurations_come_back_as_they_were(#[case] given: Value) {
    let given = fields(given);
    let config = SelectConfig::from_json(given.clone()).unwrap();
    let written = config.to_json();
    for (field, value) in &given {
        assert_eq!(&written[field], value, "{field}");
    }
    assert_eq!(SelectConfig::from_json(written.clone()).unwrap().to_json(), written);
    let unknown: Vec<_> = config.unknown_fields().collect();
    assert_eq!(unknown.is_empty(), !given.contains_key("a_field_of_next_year"));
}

#[rstest]
#[case(json!({"peft_type": "IA3"}), "`IA3` is none of LN_TUNING, BITFIT")]
#[case(json!({}), "`` is none of")]
#[case(json!({"peft_type": "LAST_LAYERS", "num_layers": "two"}), "num_layers: \"two\" is not a value")]
#[case(json!({"peft_type": "BITFIT", "num_layers": 2}), "num_layers: BITFIT trains no number")]
fn files_that_make_no_sense_are_refused(#[case] given: Value, #[case] says: &str) {
    let error = SelectConfig::from_json(fields(given)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}
