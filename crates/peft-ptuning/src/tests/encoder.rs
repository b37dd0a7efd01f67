//! The networks against the reference's, in numbers: torch's LSTM and linear layers under Hugging Face PEFT 0.21.2's
//! `PromptEncoder`, in double precision, with weights that a formula gives.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::Tolerance;
use peft_core::draw;
use peft_core::tensors::{Tensors, export, export_gradients, import, parameters};
use peft_core::{Backbone, BatchRows, Hooks, Method, Site};
use peft_testing::{HIDDEN, Mini, close};
use rstest::rstest;

use super::{config, mini};
use crate::{PTuning, PTuningConfig};

/// Element i of the k-th parameter, in the order of their names, is 0.8·sin(1.3·i + k).
fn filled(config: &PTuningConfig, mini: &Mini) -> PTuning {
    let prompt = config.init(mini).unwrap();
    let fill = |(k, (name, data)): (usize, (String, TensorData))| {
        let shape = data.shape().clone();
        let value = |i: usize| (0.8 * (1.3 * i as f64 + k as f64).sin()) as f32;
        (name, TensorData::new((0..shape.num_elements()).map(value).collect::<Vec<_>>(), shape))
    };
    let values: Tensors = parameters(&prompt).into_iter().enumerate().map(fill).collect();
    import(prompt, values).unwrap()
}

const LSTM: [[f32; HIDDEN]; 3] = [
    [-0.591334, 0.598846, 0.833171, 0.059242, -0.523959, -0.291859, 0.134994, 0.09822],
    [-0.625699, 0.546583, 0.818563, 0.097817, -0.473205, -0.282876, 0.092657, 0.049566],
    [-0.654031, 0.466943, 0.77227, 0.134079, -0.392933, -0.243921, 0.048888, -0.030403],
];

const MLP: [[f32; HIDDEN]; 3] = [
    [0.299419, -0.560358, 0.691159, 1.117172, -1.704397, 0.544696, -0.804048, 1.249753],
    [-0.792375, 0.07978, 0.6859, 0.486048, -0.617532, -0.686825, 0.219641, 0.7269],
    [-0.676826, -0.035138, 0.767293, 0.461476, -0.656813, -0.594933, 0.10144, 0.837578],
];

/// Of the gradient g of the sum of squares, Σ gᵢ·cos(i) for each parameter.
const LSTM_GRADIENTS: [(&str, f64); 21] = [
    ("embedding.weight", -0.255704),
    ("lstm_head.bias_hh_l0", 0.038318),
    ("lstm_head.bias_hh_l0_reverse", 0.049573),
    ("lstm_head.bias_hh_l1", -0.604561),
    ("lstm_head.bias_hh_l1_reverse", 0.702588),
    ("lstm_head.bias_ih_l0", 0.038318),
    ("lstm_head.bias_ih_l0_reverse", 0.049573),
    ("lstm_head.bias_ih_l1", -0.604561),
    ("lstm_head.bias_ih_l1_reverse", 0.702588),
    ("lstm_head.weight_hh_l0", -0.094999),
    ("lstm_head.weight_hh_l0_reverse", -0.012390),
    ("lstm_head.weight_hh_l1", 0.082449),
    ("lstm_head.weight_hh_l1_reverse", -0.077348),
    ("lstm_head.weight_ih_l0", -0.295994),
    ("lstm_head.weight_ih_l0_reverse", 0.106642),
    ("lstm_head.weight_ih_l1", -0.283728),
    ("lstm_head.weight_ih_l1_reverse", 0.640017),
    ("mlp_head.0.bias", -4.760553),
    ("mlp_head.0.weight", -1.817292),
    ("mlp_head.2.bias", -2.532873),
    ("mlp_head.2.weight", 3.160819),
];

const MLP_GRADIENTS: [(&str, f64); 7] = [
    ("embedding.weight", 11.135029),
    ("mlp_head.0.bias", 2.911752),
    ("mlp_head.0.weight", -8.642279),
    ("mlp_head.2.bias", 3.373497),
    ("mlp_head.2.weight", -19.256425),
    ("mlp_head.4.bias", -1.977880),
    ("mlp_head.4.weight", 5.222475),
];

#[rstest]
#[case::lstm(config().with_lstm(2), LSTM, &LSTM_GRADIENTS)]
#[case::mlp(config(), MLP, &MLP_GRADIENTS)]
fn values_and_gradients_are_the_references(
    #[case] config: PTuningConfig,
    #[case] values: [[f32; HIDDEN]; 3],
    #[case] gradients: &[(&str, f64)],
) {
    let device = Device::flex().autodiff();
    let prompt = filled(&config.with_hidden(2), &Mini::new(&device));
    let table = prompt.table();
    table.to_data().assert_approx_eq::<f32>(&TensorData::from(values), Tolerance::absolute(2e-6));
    let got = export_gradients(&prompt, &table.powf_scalar(2.0).sum().backward());
    let names: Vec<String> = gradients.iter().map(|(name, _)| format!("prompt_encoder.{name}")).collect();
    assert_eq!(got.keys().cloned().collect::<Vec<_>>(), names);
    for (name, (_, want)) in names.iter().zip(gradients) {
        let sum: f64 = got[name].iter::<f32>().enumerate().map(|(i, g)| f64::from(g) * (i as f64).cos()).sum();
        assert!((sum - want).abs() < 2e-5 * (1.0 + want.abs()), "{name}: {sum} where the reference has {want}");
    }
}

#[test]
fn parameters_have_the_references_names_and_shapes() {
    let (_, mini) = mini();
    let shape = |config: PTuningConfig, name: &str| {
        parameters(&config.init(&mini).unwrap())[&format!("prompt_encoder.{name}")].shape().to_vec()
    };
    let lstm = || PTuningConfig::new(3).with_lstm(2).with_hidden(5);
    assert_eq!(shape(lstm(), "embedding.weight"), [3, HIDDEN]);
    assert_eq!(shape(lstm(), "lstm_head.weight_ih_l0"), [20, HIDDEN]);
    assert_eq!(shape(lstm(), "lstm_head.weight_ih_l1_reverse"), [20, 10]);
    assert_eq!(shape(lstm(), "lstm_head.weight_hh_l1"), [20, 5]);
    assert_eq!(shape(lstm(), "lstm_head.bias_hh_l0_reverse"), [20]);
    assert_eq!(shape(lstm(), "mlp_head.0.weight"), [10, 10]);
    assert_eq!(shape(lstm(), "mlp_head.2.weight"), [HIDDEN, 10]);
    assert_eq!(shape(PTuningConfig::new(3).with_hidden(5), "mlp_head.4.weight"), [HIDDEN, 5]);
}

/// The counts of a model of width H, by the reference's formulas.
#[rstest]
#[case(config(), 16, (HIDDEN + 1) * 16 + (16 + 1) * 16 + (16 + 1) * HIDDEN)]
// Not given, the inner width is H; the number of layers is nothing to an MLP.
#[case(PTuningConfig { encoder_num_layers: 7, ..PTuningConfig::new(3) }, HIDDEN, 3 * (HIDDEN + 1) * HIDDEN)]
#[case(config().with_lstm(1), 16, 2 * 4 * 16 * (HIDDEN + 16 + 2) + (32 + 1) * 32 + (32 + 1) * HIDDEN)]
fn the_counts_are_the_formulas(#[case] config: PTuningConfig, #[case] hidden: usize, #[case] network: usize) {
    let (_, mini) = mini();
    assert_eq!(config.init(&mini).unwrap().num_params(), 3 * HIDDEN + network);
    assert_eq!(config.resolve(&mini).unwrap().encoder_hidden_size, Some(hidden));
}

#[test]
fn new_weights_are_as_wide_as_torchs() {
    let (device, mini) = mini();
    draw::seed(&device, 4);
    let drawn = parameters(&PTuningConfig::new(200).with_lstm(1).with_hidden(64).init(&mini).unwrap());
    let largest = |name: &str| drawn[&format!("prompt_encoder.{name}")].iter::<f32>().fold(0f32, |m, x| m.max(x.abs()));
    // 1/√h for all of the LSTM, 1/√(its input) for a linear layer.
    for (name, bound) in [
        ("lstm_head.weight_ih_l0", 0.125),
        ("lstm_head.bias_hh_l0_reverse", 0.125),
        ("mlp_head.0.weight", 128f32.sqrt().recip()),
    ] {
        assert!(largest(name) <= bound && largest(name) > 0.9 * bound, "{name}: {}", largest(name));
    }
    assert!(largest("embedding.weight") > 2.5);
}

#[test]
fn the_file_holds_what_the_network_makes() {
    let (device, mini) = mini();
    let prompt = config().with_lstm(2).init(&mini).unwrap();
    let file = export(&prompt);
    assert_eq!(file.keys().collect::<Vec<_>>(), ["prompt_embeddings"]);
    close(Tensor::from_data(file["prompt_embeddings"].clone(), &device), prompt.table());
    assert_eq!(prompt.saved_key(&Site::new("head", "classifier"), "bias"), "base_model.classifier.bias");
}

/// What is saved in the middle of training is what will be computed after it.
#[test]
fn dropout_is_for_training_and_not_for_files() {
    let device = Device::flex().autodiff();
    let mini = Mini::new(&device);
    let input = mini.sites().inputs().next().unwrap().0.site.clone();
    let given = |prompt: &PTuning| prompt.prompt(&input, &BatchRows::new(1)).unwrap().embeddings.squeeze_dim::<2>(0);
    let apart = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>();
    let prompt = config().with_lstm(2).with_dropout(0.5).init(&mini).unwrap();
    assert!(apart(given(&prompt), given(&prompt)) > 1e-4);
    assert_eq!(apart(prompt.table(), prompt.table()), 0.0);
    let file = Tensor::from_data(export(&prompt)["prompt_embeddings"].clone(), &device);
    assert_eq!(apart(file, prompt.table()), 0.0);
    // Between layers alone: one layer has none, and neither has an MLP.
    for config in [config().with_lstm(1), config()] {
        let prompt = config.with_dropout(0.5).init(&mini).unwrap();
        assert_eq!(apart(given(&prompt), prompt.table()), 0.0);
    }
}
