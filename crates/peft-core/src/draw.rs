//! Random numbers that are the same on every device.
//!
//! Each of Burn's devices has a generator of its own, so that one seed starts another adapter on a GPU than on a CPU. What
//! is drawn here after [`seed`] comes from the host's generator, whose numbers are those of a CPU device, wherever the
//! tensor is to lie. Without it a device's own generator is asked, as [`Tensor::random`] does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::prelude::*;
use burn::tensor::Distribution;
use burn_std::rand::{SeedableRng, StdRng};

/// The host's generator, once it has a seed.
static HOST: Mutex<Option<StdRng>> = Mutex::new(None);

fn host() -> MutexGuard<'static, Option<StdRng>> {
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seeds what [`random`] draws from now on in this process, and the generator of `device`.
pub fn seed(device: &Device, seed: u64) {
    device.seed(seed);
    *host() = Some(StdRng::seed_from_u64(seed));
}

/// A tensor of numbers of `distribution`: how new parameters start.
pub fn random<const D: usize>(shape: impl Into<Shape>, distribution: Distribution, device: &Device) -> Tensor<D> {
    let shape = shape.into();
    match from_host(shape.clone(), distribution, device) {
        Some(data) => Tensor::from_data(data, device),
        None => Tensor::random(shape, distribution, device),
    }
}

/// `len` numbers of `distribution` for whoever draws for tensors on `device`.
pub fn numbers(len: usize, distribution: Distribution, device: &Device) -> Vec<f32> {
    let device = device.clone().inner();
    let data = from_host(Shape::new([len]), distribution, &device)
        .unwrap_or_else(|| Tensor::<1>::random([len], distribution, &device).into_data());
    data.iter::<f32>().collect()
}

/// What the host draws for `device`, unless that is the host or there is no seed.
fn from_host(shape: Shape, distribution: Distribution, device: &Device) -> Option<TensorData> {
    if on_host(device) {
        return None;
    }
    host().as_mut().map(|host| TensorData::random::<f32, _, _>(shape, distribution, host))
}

/// Whether tensors on `device` lie in the host's memory.
pub(crate) fn on_host(device: &Device) -> bool {
    let device = device.clone().inner();
    #[cfg(feature = "flex")]
    if device == Device::flex() {
        return true;
    }
    #[cfg(feature = "ndarray")]
    #[allow(deprecated)] // Kept as a feature for comparison.
    if device == Device::ndarray() {
        return true;
    }
    let _ = device;
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes a seed mean the same everywhere: the host's generator and a CPU device's are one.
    #[test]
    fn a_cpu_device_draws_what_the_host_draws() {
        let device = Device::flex();
        for distribution in [Distribution::Normal(0.0, 0.02), Distribution::Uniform(-0.5, 0.5)] {
            let of_host = |seed| {
                let mut host = StdRng::seed_from_u64(seed);
                TensorData::random::<f32, _, _>([3, 5], distribution, &mut host).iter::<f32>().collect::<Vec<_>>()
            };
            let of_device = |number| {
                seed(&device, number);
                random::<2>([3, 5], distribution, &device).into_data().iter::<f32>().collect::<Vec<_>>()
            };
            assert_ne!(of_host(7), of_host(8));
            // The device's generator is one for the process: a test that runs beside this one may draw in between.
            assert!((0..50).any(|_| of_device(7) == of_host(7)));
        }
    }
}
