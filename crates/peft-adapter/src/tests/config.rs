//! Configuration files.

use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::{BottleneckConfig, FusionConfig};

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// What `adapters` 1.3.0 makes of `BnConfig(mh_adapter=False, output_adapter=True, reduction_factor=16,
/// non_linearity="relu")`.
fn bn_config() -> Value {
    json!({
        "mh_adapter": false, "output_adapter": true, "reduction_factor": 16, "non_linearity": "relu",
        "original_ln_before": false, "original_ln_after": true, "ln_before": false, "ln_after": false,
        "init_weights": "bert", "init_weights_seed": null, "is_parallel": false, "scaling": 1.0, "use_gating": false,
        "residual_before_ln": true, "adapter_residual_before_ln": false, "inv_adapter": null,
        "inv_adapter_reduction_factor": null, "cross_adapter": false, "leave_out": [], "dropout": 0.0,
        "phm_layer": false, "phm_dim": 4, "factorized_phm_W": true, "shared_W_phm": false, "shared_phm_rule": true,
        "factorized_phm_rule": false, "phm_c_init": "normal", "phm_init_range": 0.0001, "learn_phm": true,
        "hypercomplex_nonlinearity": "glorot-uniform", "phm_rank": 1, "phm_bias": true, "stochastic_depth": 0.0,
    })
}

#[rstest]
#[case(BottleneckConfig::default(), json!({}))]
#[case(BottleneckConfig::seq_bn(), json!({"original_ln_before": true}))]
#[case(BottleneckConfig::double_seq_bn(), json!({"mh_adapter": true, "non_linearity": "swish"}))]
#[case(BottleneckConfig::par_bn(), json!({"reduction_factor": 2, "init_weights": "mam_adapter", "is_parallel": true,
    "scaling": 4.0}))]
#[case(BottleneckConfig::scaled_par_bn(), json!({"reduction_factor": 2, "init_weights": "mam_adapter",
    "is_parallel": true, "scaling": "learned"}))]
#[case(BottleneckConfig::compacter(), json!({"mh_adapter": true, "phm_layer": true, "reduction_factor": 32,
    "non_linearity": "gelu"}))]
#[case(BottleneckConfig::compacter_plus_plus(), json!({"original_ln_before": true, "phm_layer": true,
    "reduction_factor": 32, "non_linearity": "gelu"}))]
#[case(BottleneckConfig::adapter_plus(), json!({"original_ln_before": true, "original_ln_after": false,
    "residual_before_ln": false, "stochastic_depth": 0.1, "init_weights": "houlsby", "scaling": "channel",
    "reduction_factor": 96, "non_linearity": "gelu"}))]
fn presets_are_the_references(#[case] preset: BottleneckConfig, #[case] differs: Value) {
    let mut want = fields(bn_config());
    want.extend(fields(differs));
    assert_eq!(Value::Object(preset.to_json()), Value::Object(want.clone()));
    assert_eq!(BottleneckConfig::from_json(want).unwrap().to_json(), preset.to_json());
}

#[test]
fn a_file_is_written_as_it_was_read() {
    let mut given = fields(bn_config());
    given.extend(fields(json!({
        "reduction_factor": {"1": 16.0, "default": 2}, "residual_before_ln": "post_add", "original_ln_before": true,
        "scaling": "channel", "leave_out": [0, 3], "init_weights_seed": 42, "phm_c_init": "uniform",
        "a_field_of_next_year": [1],
    })));
    let config = BottleneckConfig::from_json(given.clone()).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
    assert_eq!(Value::Object(config.with_modules_to_save(["classifier"]).to_json()), Value::Object(given));
}

#[rstest]
#[case(json!({"architecture": "lora"}), "architecture: `lora` is no bottleneck adapter")]
#[case(json!({"inv_adapter": "nice"}), "inv_adapter: not supported")]
#[case(json!({"invertible_adapter": {"block_type": "nice"}}), "invertible_adapter: not supported")]
#[case(json!({"shared_W_phm": true}), "shared_W_phm: not supported")]
#[case(json!({"mh_adapter": null}), "mh_adapter: missing")]
#[case(json!({"reduction_factor": 0}), "reduction_factor: 0 is no factor")]
#[case(json!({"reduction_factor": {"default": -2}}), "reduction_factor.default: -2 is no factor")]
#[case(json!({"reduction_factor": "16"}), "reduction_factor: \"16\" is not a value")]
#[case(json!({"non_linearity": "prelu"}), "non_linearity: `prelu` is none of silu, gelu,")]
#[case(json!({"scaling": "row"}), "scaling: \"row\" is not a value")]
#[case(json!({"dropout": 1.0}), "dropout: 1 is no probability")]
#[case(json!({"stochastic_depth": -0.1}), "stochastic_depth: -0.1 is no probability")]
#[case(json!({"residual_before_ln": "post_add"}), "residual_before_ln: \"post_add\" needs original_ln_before")]
#[case(json!({"init_weights": "xavier"}), "init_weights: \"xavier\" is not a value")]
#[case(json!({"phm_layer": true, "init_weights": "houlsby"}), "init_weights: a phm_layer has a start")]
#[case(json!({"phm_layer": true, "phm_rank": 0}), "phm_rank: 0 leaves nothing")]
fn what_makes_no_sense_is_named(#[case] given: Value, #[case] says: &str) {
    let mut all = fields(bn_config());
    all.extend(fields(given));
    let error = BottleneckConfig::from_json(all).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[rstest]
#[case(json!({"dropout_prob": null, "key": true, "query": true, "query_before_ln": false, "regularization": true,
    "residual_before": false, "temperature": false, "value": true, "value_before_softmax": true,
    "value_initialized": true}), FusionConfig::dynamic())]
#[case(json!({"dropout_prob": null, "key": true, "query": true, "query_before_ln": false, "regularization": false,
    "residual_before": false, "temperature": false, "value": false, "value_before_softmax": true,
    "value_initialized": false}), FusionConfig::fixed())]
fn fusions_are_the_references(#[case] given: Value, #[case] preset: FusionConfig) {
    assert_eq!(Value::Object(preset.to_json()), given);
    assert_eq!(FusionConfig::from_json(fields(given)).unwrap().to_json(), preset.to_json());
}

#[rstest]
#[case(json!({"temperature": true}), "temperature: not supported")]
#[case(json!({"dropout_prob": 1.5}), "dropout_prob: 1.5 is no probability")]
#[case(json!({"key": false, "query": false, "value": false}), "query: without query, key and value")]
fn fusions_that_make_no_sense_are_named(#[case] given: Value, #[case] says: &str) {
    let error = FusionConfig::from_json(fields(given)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}
