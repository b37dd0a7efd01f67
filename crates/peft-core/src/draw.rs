//! Random numbers, the same on every device: how new parameters start.
//!
//! Each of Burn's devices has a generator of its own, so that one seed would start another adapter on a GPU than on a CPU,
//! and the same numbers twice where a model lies on two CPU backends. After [`seed`] all that is drawn here comes from one
//! generator of the process, wherever the tensor is to lie; its numbers are those of a CPU device with that seed. Before, it
//! is the device's own, which [`Device::seed`] seeds.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::prelude::*;
use burn::tensor::Distribution;
use burn_std::rand::SeedableRng;
use chacha20::{ChaCha12Rng, SerializedRngState};

/// The generator of the process, once it has a seed: that of Burn's CPU devices, which is rand's `StdRng`.
static GENERATOR: Mutex<Option<ChaCha12Rng>> = Mutex::new(None);

/// Where the generator of the process stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State(Option<SerializedRngState>);

impl State {
    /// Where it stands now.
    pub(crate) fn here() -> Self {
        Self(generator().as_ref().map(ChaCha12Rng::serialize_state))
    }

    /// Puts it there.
    pub(crate) fn restore(self) {
        *generator() = self.0.as_ref().map(ChaCha12Rng::deserialize_state);
    }
}

fn generator() -> MutexGuard<'static, Option<ChaCha12Rng>> {
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seeds what is drawn here from now on in this process, and the generator of `device`.
pub fn seed(device: &Device, seed: u64) {
    device.seed(seed);
    *generator() = Some(ChaCha12Rng::seed_from_u64(seed));
}

/// Numbers of N(0, `std`²): a tensor of that shape.
pub fn normal<const D: usize>(shape: impl Into<Shape>, std: f64, device: &Device) -> Tensor<D> {
    tensor(shape.into(), Distribution::Normal(0.0, std), device)
}

/// Numbers between minus and plus `bound`, all equally likely: a tensor of that shape.
pub fn uniform<const D: usize>(shape: impl Into<Shape>, bound: f64, device: &Device) -> Tensor<D> {
    tensor(shape.into(), Distribution::Uniform(-bound, bound), device)
}

/// `len` numbers on the host, for tensors on `device`.
pub fn numbers(len: usize, distribution: Distribution, device: &Device) -> Vec<f32> {
    let of_device = || Tensor::<1>::random([len], distribution, &device.clone().inner()).into_data();
    drawn(Shape::new([len]), distribution).unwrap_or_else(of_device).iter::<f32>().collect()
}

fn tensor<const D: usize>(shape: Shape, distribution: Distribution, device: &Device) -> Tensor<D> {
    match drawn(shape.clone(), distribution) {
        Some(data) => Tensor::from_data(data, device),
        None => Tensor::random(shape, distribution, device),
    }
}

/// What the generator gives, if it has a seed.
fn drawn(shape: Shape, distribution: Distribution) -> Option<TensorData> {
    generator().as_mut().map(|generator| TensorData::random::<f32, _, _>(shape, distribution, generator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    /// Generators are one for the process: a test that runs beside one of these may draw in between.
    const TRIES: usize = 50;

    #[test]
    fn a_seed_gives_what_a_cpu_device_gives() {
        let device = Device::flex();
        let ours = |number| {
            seed(&device, number);
            [values(normal([3, 5], 0.02, &device)), values(uniform([3, 5], 0.5, &device))]
        };
        let of_device = |number| {
            device.seed(number);
            [Distribution::Normal(0.0, 0.02), Distribution::Uniform(-0.5, 0.5)]
                .map(|distribution| values(Tensor::random([3, 5], distribution, &device)))
        };
        assert!((0..TRIES).any(|_| ours(7) == of_device(7)));
        assert!(ours(7) != ours(8));
    }

    #[test]
    fn numbers_on_the_host_are_those_of_a_tensor() {
        let device = Device::flex().autodiff();
        let both = || {
            seed(&device, 3);
            let numbers = numbers(6, Distribution::Uniform(-1.0, 1.0), &device);
            seed(&device, 3);
            (numbers, values(uniform([2, 3], 1.0, &device)))
        };
        assert!((0..TRIES).map(|_| both()).any(|(numbers, values)| numbers == values));
    }
}
