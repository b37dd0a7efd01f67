//! Expected values: torch 2.9.0, the losses of T-Few's `training_step` written out for rows of any number of choices;
//! for rows of equally many the two agree to the last place.

use burn::tensor::Tolerance;
use rstest::rstest;

use super::*;

/// Two rows, of two and of three choices; five texts of up to three tokens out of four.
fn choices() -> Choices {
    Choices {
        labels: vec![vec![1, 2, 3], vec![3], vec![2, 0, IGNORED], vec![1, 1, 2], vec![0]],
        rows: vec![0, 0, 1, 1, 1],
        right: vec![1, 0],
    }
}

/// Made from the sine, so that torch can make the same.
fn scores(device: &Device) -> Tensor<3> {
    let values: Vec<f32> = (0..60).map(|i| (2.5 * (f64::from(i) * 1.3).sin()) as f32).collect();
    Tensor::from_data(TensorData::new(values, [5, 3, 4]), device)
}

fn loss(weights: ChoiceWeights) -> f32 {
    let choices = choices();
    let nll = token_losses(scores(&Device::flex()), &choices.labels);
    choice_losses(nll, &choices, &weights).mean().into_scalar()
}

const NONE: ChoiceWeights = ChoiceWeights { lm: 0.0, ln: 0.0, ul: 0.0, length_norm: 1.0 };

#[rstest]
#[case::lm(ChoiceWeights { lm: 1.0, ..NONE }, 2.167_686)]
#[case::ln(ChoiceWeights { ln: 1.0, ..NONE }, 0.821_972)]
#[case::ln_by_the_root(ChoiceWeights { ln: 1.0, length_norm: 0.5, ..NONE }, 0.885_813_1)]
#[case::ln_by_the_sum(ChoiceWeights { ln: 1.0, length_norm: 0.0, ..NONE }, 1.474_866_4)]
#[case::ul(ChoiceWeights { ul: 1.0, ..NONE }, 0.586_416_8)]
#[case::together(ChoiceWeights::default(), 2.167_686 + 0.821_972 + 0.586_416_8)]
#[case::weighted(ChoiceWeights { lm: 2.0, ln: 0.5, ul: 3.0, length_norm: 1.0 }, 4.335_372 + 0.410_986 + 1.759_250_4)]
#[case::nothing(NONE, 0.0)]
fn each_loss_is_the_references(#[case] weights: ChoiceWeights, #[case] want: f32) {
    let got = loss(weights);
    assert!((got - want).abs() < 1e-5, "{got}");
}

#[rstest]
#[case(1.0, [-0.294_167_2, -0.306_140_4, -3.098_458_8, -3.032_554, -3.783_332_6])]
#[case(0.5, [-0.509_512_5, -0.306_140_4, -4.381_882_7, -5.252_537_7, -3.783_332_6])]
#[case(0.0, [-0.882_501_6, -0.306_140_4, -6.196_917_5, -9.097_662, -3.783_332_6])]
fn scores_are_log_likelihoods_by_length(#[case] length_norm: f64, #[case] want: [f32; 5]) {
    let nll = token_losses(scores(&Device::flex()), &choices().labels);
    let got = choice_scores(nll, &choices().labels, length_norm).into_data();
    got.assert_approx_eq::<f32>(&TensorData::from(want), Tolerance::absolute(1e-5));
}

#[test]
fn gradients_are_the_references() {
    #[rustfmt::skip]
    let want = TensorData::from([
        [-2.534502e-2f32, 1.218444e-1, -9.195833e-2, -4.541089e-3],
        [-3.369084e-3, -5.251388e-2, 1.239861e-1, -6.810314e-2],
        [-5.048579e-3, -5.95192e-3, -1.143302e-1, 1.253307e-1],
        [1.240538e-1, 9.286125e-3, 2.088955e-2, -1.542295e-1],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
        [1.830374e-2, 2.849783e-1, -3.118848e-1, 8.602746e-3],
        [-4.833824e-1, 3.075555e-2, 3.414969e-1, 1.1113e-1],
        [0.0, 0.0, 0.0, 0.0],
        [-3.004497e-2, 7.090724e-2, -2.020882e-3, -3.884138e-2],
        [-7.422269e-2, 7.623076e-2, -6.1685e-4, -1.391229e-3],
        [-2.233307e-2, -4.99797e-2, 7.272872e-2, -4.159487e-4],
        [9.8985e-2, -4.420611e-2, -5.183693e-2, -2.941965e-3],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]);
    let (scores, choices) = (scores(&Device::flex().autodiff()).require_grad(), choices());
    let nll = token_losses(scores.clone(), &choices.labels);
    let loss = choice_losses(nll, &choices, &ChoiceWeights::default()).mean();
    let got = scores.grad(&loss.backward()).unwrap().reshape([15, 4]).into_data();
    got.assert_approx_eq::<f32>(&want, Tolerance::absolute(1e-6));
}

/// A model that is sure of a wrong text and rules out the right one.
#[test]
fn certainty_has_a_finite_loss_and_gradient() {
    let device = Device::flex().autodiff();
    let scores = Tensor::<3>::from_data([[[200.0, -200.0]], [[200.0, -200.0]]], &device).require_grad();
    let choices = Choices { labels: vec![vec![1], vec![0]], rows: vec![0, 0], right: vec![0] };
    let nll = token_losses(scores.clone(), &choices.labels);
    let loss = choice_losses(nll, &choices, &ChoiceWeights::default()).mean();
    // LM 400, LN 400, UL -ln 0.01 for the wrong token and -ln 1.01 for the right one.
    let want = 800.0 - 0.01f32.ln() - 1.01f32.ln();
    assert!((loss.clone().into_scalar::<f32>() - want).abs() < 1e-3);
    let gradient = scores.grad(&loss.backward()).unwrap().into_data();
    assert!(gradient.iter::<f32>().all(f32::is_finite), "{gradient}");
}

/// Wider padding and another order of the texts change no row's loss but for UL's constant.
#[test]
fn padding_and_order_do_not_matter() {
    let device = Device::flex();
    let (choices, weights) = (choices(), ChoiceWeights { ul: 0.0, ..ChoiceWeights::default() });
    let plain = choice_losses(token_losses(scores(&device), &choices.labels), &choices, &weights).into_data();
    let order = [4usize, 1, 2, 0, 3];
    let ids: Vec<i64> = order.iter().map(|&text| text as i64).collect();
    let wide = Tensor::cat(vec![scores(&device), Tensor::ones([5, 2, 4], &device)], 1);
    let wide = wide.select(0, Tensor::from_data(TensorData::from(ids.as_slice()), &device));
    let other = Choices {
        labels: order.iter().map(|&text| choices.labels[text].clone()).collect(),
        rows: order.iter().map(|&text| choices.rows[text]).collect(),
        // Texts 1 and 0 of the first row, 4, 2 and 3 of the second.
        right: vec![0, 1],
    };
    assert_eq!(other.right_texts(), [1, 2]);
    let moved = choice_losses(token_losses(wide, &other.labels), &other, &weights).into_data();
    moved.assert_approx_eq::<f32>(&plain, Tolerance::absolute(1e-6));
}

#[test]
fn a_row_of_one_choice_has_nothing_to_choose() {
    let scores = scores(&Device::flex()).narrow(0, 0, 1);
    let choices = Choices { labels: vec![vec![1, 2, 3]], rows: vec![0], right: vec![0] };
    let nll = token_losses(scores, &choices.labels);
    let loss = choice_losses(nll, &choices, &ChoiceWeights::default()).into_scalar::<f32>();
    assert!((loss - 0.294_167_2).abs() < 1e-5, "{loss}");
}
