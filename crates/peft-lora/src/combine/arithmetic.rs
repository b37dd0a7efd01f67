//! Sums of tensors of which some values are left out, value by value, on the host.

use burn::prelude::*;
use burn::tensor::Distribution;
use peft_core::draw;

use super::MajoritySign;

/// Which values of each tensor are left out before the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Prune {
    /// None.
    Nothing,
    /// The smallest, so that this share is kept.
    Smallest(f64),
    /// Random ones, so that this share is kept, which is scaled up to make good for them.
    Random(f64),
}

/// How tensors are merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) prune: Prune,
    /// Keep values of the majority's sign only, and take their mean instead of the sum.
    pub(super) elect: Option<MajoritySign>,
}

impl Rule {
    /// The weighted merge of `tensors`, all of one shape; there is at least one.
    pub(super) fn merge(&self, tensors: Vec<Tensor<2>>, weights: Vec<f64>) -> Tensor<2> {
        let (shape, device) = (tensors[0].dims(), tensors[0].device());
        let values: Vec<Vec<f32>> = tensors.into_iter().map(|tensor| self.pruned(tensor)).collect();
        let merged: Vec<f32> = (0..values[0].len())
            .map(|i| {
                let column = || values.iter().map(|tensor| tensor[i]).zip(&weights);
                match self.elect {
                    None => column().map(|(value, &weight)| value * weight as f32).sum(),
                    Some(method) => elected(column(), method),
                }
            })
            .collect();
        Tensor::from_data(TensorData::new(merged, shape), &device)
    }

    fn pruned(&self, tensor: Tensor<2>) -> Vec<f32> {
        let device = tensor.device();
        let mut values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        match self.prune {
            Prune::Random(density) if density < 1.0 => {
                let mask = draw::numbers(values.len(), Distribution::Bernoulli(density), &device);
                values.iter_mut().zip(mask).for_each(|(value, mask)| *value *= mask / density as f32);
            }
            Prune::Smallest(density) => {
                let count = (density * values.len() as f64) as usize;
                keep_largest(&mut values, count);
            }
            Prune::Random(_) | Prune::Nothing => {}
        }
        values
    }
}

/// Zero for all but the `count` values that are largest in size; of equal ones the first stay.
fn keep_largest(values: &mut [f32], count: usize) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[j].abs().total_cmp(&values[i].abs()));
    order.into_iter().skip(count).for_each(|i| values[i] = 0.0);
}

/// The mean of the weighted values whose sign is the majority's.
fn elected<'a>(column: impl Iterator<Item = (f32, &'a f64)> + Clone, method: MajoritySign) -> f32 {
    let sign = |value: f32| if value == 0.0 { 0.0 } else { value.signum() };
    let total: f32 = match method {
        MajoritySign::Total => column.clone().map(|(value, _)| value).sum(),
        MajoritySign::Frequency => column.clone().map(|(value, _)| sign(value)).sum(),
    };
    let majority = if total >= 0.0 { 1.0 } else { -1.0 };
    let (sum, count) = column
        .filter(|(value, _)| sign(*value) == majority)
        .fold((0.0, 0u32), |(sum, count), (value, &weight)| (sum + value * weight as f32, count + 1));
    sum / count.max(1) as f32
}

/// The value below which the share `at` of `values` lies, by linear interpolation. There is at least one.
pub(super) fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = at * (values.len() - 1) as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const A: [[f32; 3]; 2] = [[1., -2., 3.], [-0.5, 0.25, 4.]];
    const B: [[f32; 3]; 2] = [[-1.5, -1., 0.5], [2., -3., -0.75]];
    const C: [[f32; 3]; 2] = [[0.3, 1., -2.], [-2., -0.3, -1.]];

    fn merge(rule: Rule, tensors: &[[[f32; 3]; 2]], weights: &[f64]) -> Vec<f32> {
        let device = Device::flex();
        let tensors = tensors.iter().map(|values| Tensor::from_data(*values, &device)).collect();
        rule.merge(tensors, weights.to_vec()).into_data().iter::<f32>().collect()
    }

    fn near(got: Vec<f32>, want: &[f32]) {
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} for {want:?}");
    }

    /// Of `peft.utils.merge_utils` 0.21.2.
    #[rstest]
    #[case(0.75, None, [1.6, -0.8, 2.1, -1.2, 1.8, 2.8])]
    #[case(0.75, Some(MajoritySign::Total), [0.9, -0.4, 2.1, -1.2, 1.8, 2.8])]
    #[case(0.75, Some(MajoritySign::Frequency), [0.7, -0.4, 2.1, -1.2, 1.8, 2.8])]
    #[case(0.5, Some(MajoritySign::Total), [0.9, -1.4, 2.1, -1.2, 1.8, 2.8])]
    #[case(1.0, Some(MajoritySign::Frequency), [0.7, -0.4, 0.9, -1.2, 0.175, 2.8])]
    fn two_are_merged_as_in_the_reference(
        #[case] density: f64,
        #[case] elect: Option<MajoritySign>,
        #[case] want: [f32; 6],
    ) {
        near(merge(Rule { prune: Prune::Smallest(density), elect }, &[A, B], &[0.7, -0.6]), &want);
    }

    #[rstest]
    #[case(MajoritySign::Total, [-0.375, -0.625, 0.8125, -1.125, -0.525, 2.0])]
    #[case(MajoritySign::Frequency, [0.4, -0.625, 0.8125, -1.125, -0.525, -0.59375])]
    fn three_elect_a_sign(#[case] method: MajoritySign, #[case] want: [f32; 6]) {
        near(merge(Rule { prune: Prune::Smallest(1.0), elect: Some(method) }, &[A, B, C], &[0.5, 0.25, 1.0]), &want);
    }

    #[test]
    fn random_pruning_keeps_the_mean() {
        let device = Device::flex();
        draw::seed(&device, 1);
        let rule = Rule { prune: Prune::Random(0.25), elect: None };
        let got = rule.merge(vec![Tensor::ones([200, 200], &device)], vec![1.0]);
        let values: Vec<f32> = got.clone().into_data().iter::<f32>().collect();
        assert!(values.iter().all(|&value| value == 0.0 || value == 4.0));
        assert!((got.mean().into_scalar::<f32>() - 1.0).abs() < 0.05);
    }

    #[test]
    fn a_quantile_lies_between_values() {
        assert!((quantile(vec![1.0, -2.0, 3.0, 0.5], 0.8) - 1.8).abs() < 1e-12);
        assert_eq!(quantile(vec![2.0], 1.0), 2.0);
    }
}
