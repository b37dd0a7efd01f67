//! Steps of an optimizer: each value of its state is read once and written once.

use burn::prelude::*;

use crate::switch::covers;

/// One step of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// How much of the first moment stays, and how much of the second.
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// How far a step goes.
    pub learning_rate: f64,
    /// The learning rate times this is taken off a weight, as a share of it.
    pub weight_decay: f64,
    /// Which step this is, counted from 1.
    pub time: usize,
    /// What gradients are multiplied with first: what clipping makes of them.
    pub factor: f64,
}

impl AdamW {
    /// The new weight and its moments; there are none before the first step. All have the same shape.
    ///
    /// The kernel gives the bits of the composition. It writes the moments where they lie and the weight over the
    /// gradient, where nobody else has those, and makes no other tensor.
    pub fn step<const D: usize>(
        self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: Option<[Tensor<D>; 2]>,
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        #[cfg(feature = "flex")]
        if covers(&weight) && covers(&grad) && moments.iter().flatten().all(covers) {
            return crate::flex::optim::adamw(self, weight, grad, moments);
        }
        let _ = covers::<D>;
        self.composed(weight, grad, moments)
    }

    /// What the moments are divided by, for they begin at zero.
    pub(crate) fn corrections(&self) -> [f32; 2] {
        self.betas.map(|beta| 1.0 - beta.powi(self.time as i32))
    }

    fn composed<const D: usize>(
        self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: Option<[Tensor<D>; 2]>,
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let grad = if self.factor == 1.0 { grad } else { grad * self.factor };
        let [first, second] = self.betas;
        let new = [grad.clone() * (1.0 - first), grad.square() * (1.0 - second)];
        let [first, second] = match moments {
            Some([m, v]) => {
                let [new_m, new_v] = new;
                [m * first + new_m, v * second + new_v]
            }
            None => new,
        };
        let [of_first, of_second] = self.corrections();
        let step = first.clone() / of_first / ((second.clone() / of_second).sqrt() + self.epsilon);
        let weight = weight * (1.0 - self.learning_rate * self.weight_decay) - step * self.learning_rate;
        (weight, [first, second])
    }
}

/// The sum of the squares of all values of all tensors, in parts of a fixed size whatever the number of cores; none where
/// there is no kernel for one of them.
pub fn sum_of_squares(tensors: &[Tensor<1>]) -> Option<f64> {
    #[cfg(feature = "flex")]
    if tensors.iter().all(covers) {
        return crate::flex::optim::sum_of_squares(tensors);
    }
    let _ = tensors;
    None
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::numbers;

    const STEP: AdamW =
        AdamW { betas: [0.9, 0.999], epsilon: 1e-8, learning_rate: 3e-3, weight_decay: 0.01, time: 1, factor: 1.0 };

    fn plain<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let values = numbers(shape.iter().product(), seed);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn bits<const D: usize>(tensor: &Tensor<D>) -> Vec<u32> {
        tensor.clone().into_data().iter::<f32>().map(f32::to_bits).collect()
    }

    #[test]
    fn ten_steps_give_the_bits_of_the_composition() {
        // What no register divides, and what more than one core takes.
        for shape in [[1, 1], [7, 5], [201, 331]] {
            for (weight_decay, factor) in [(0.0, 1.0), (0.01, 1.0), (0.01, 0.37)] {
                let start = plain(shape, 1);
                let (mut got, mut want) = ((start.clone(), None), (start, None));
                for time in 1..=10 {
                    let step = AdamW { time, weight_decay, factor, ..STEP };
                    let grad = || plain(shape, 100 + time as u64) * 10f64.powi(time as i32 % 5 - 3);
                    let (weight, moments) = step.step(got.0, grad(), got.1);
                    got = (weight, Some(moments));
                    let (weight, moments) = step.composed(want.0, grad(), want.1);
                    want = (weight, Some(moments));
                    assert_eq!(bits(&got.0), bits(&want.0), "weight of {shape:?} after {time} steps");
                    for (got, want) in got.1.iter().flatten().zip(want.1.iter().flatten()) {
                        assert_eq!(bits(got), bits(want), "moment of {shape:?} after {time} steps");
                    }
                }
            }
        }
    }

    // Expected values: the algorithm of torch.optim.AdamW (lr=0.1, weight_decay=0.5), worked out in double precision.
    #[test]
    fn steps_are_torchs() {
        let of = |values: [f32; 3]| Tensor::<1>::from_data(values, &Device::flex());
        let step = AdamW { learning_rate: 0.1, weight_decay: 0.5, ..STEP };
        let (weight, moments) = step.step(of([1.0, -2.0, 0.5]), of([0.5, 0.25, -4.0]), None);
        let (weight, _) = AdamW { time: 2, ..step }.step(weight, of([-1.0, 0.25, 1.0]), Some(moments));
        let want = [0.844_110_35, -2.0, 0.593_196_8];
        for (got, want) in weight.into_data().iter::<f32>().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} for {want}");
        }
    }

    #[test]
    fn what_others_hold_stays_as_it_is() {
        let (weight, grad, moments) = (plain([40], 1), plain([40], 2), [plain([40], 3), plain([40], 4) * 0.0 + 1.0]);
        let all = [&weight, &grad, &moments[0], &moments[1]];
        let before = all.map(bits);
        let wanted = STEP.composed(weight.clone(), grad.clone(), Some(moments.clone()));
        let got = STEP.step(weight.clone(), grad.clone(), Some(moments.clone()));
        assert_eq!(all.map(bits), before);
        assert_eq!(bits(&got.0), bits(&wanted.0));
        // Gradients that lie otherwise than the weight: those of a product come transposed.
        let (weight, grad) = (plain([6, 4], 1), plain([4, 6], 2).transpose());
        assert_eq!(bits(&STEP.step(weight.clone(), grad.clone(), None).0), bits(&STEP.composed(weight, grad, None).0));
    }

    /// Where the values of a tensor begin.
    fn place(tensor: &Tensor<2>) -> *const u8 {
        tensor.clone().try_into_primitive::<burn::backend::Flex>().expect("it is on flex").bytes().as_ptr()
    }

    #[test]
    fn what_nobody_else_has_is_written_over() {
        let (_, moments) = STEP.step(plain([60, 70], 1), plain([60, 70], 2), None);
        let grad = plain([60, 70], 3);
        let before = [&grad, &moments[0], &moments[1]].map(place);
        let (weight, moments) = AdamW { time: 2, ..STEP }.step(plain([60, 70], 1), grad, Some(moments));
        assert_eq!([&weight, &moments[0], &moments[1]].map(place), before);
    }

    #[test]
    fn squares_are_added_the_same_way_on_any_number_of_cores() {
        let tensors = [plain([3], 1), plain([100_001], 2), plain([1], 3), plain([20_000], 4)];
        let sum = sum_of_squares(&tensors).expect("there is a kernel");
        let exact: f64 = tensors.iter().flat_map(bits).map(|bits| f64::from(f32::from_bits(bits)).powi(2)).sum();
        assert!((sum / exact - 1.0).abs() < 1e-6, "{sum} for {exact}");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| sum_of_squares(&tensors)), Some(sum));
        }
        assert_eq!(sum_of_squares(&[]), Some(0.0));
    }
}
