//! Dropout whose masks cost next to nothing on a CPU.
//!
//! Burn's draws one number of a cryptographic generator for each element, on one thread: a fifth of a training step
//! of a small model. Here, where the tensors are in the host's memory, one draw of the device's generator seeds a
//! counter-based one ([`peft_kernels::dropout`]). On other devices it is Burn's own.

use burn::module::Module;
use burn::nn::{Dropout as BurnDropout, DropoutConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use peft_kernels::attention::Dropped;
use peft_kernels::dropout::dropout;

/// Sets each element to zero with a probability and scales the others, in training (Srivastava et al. 2014).
///
/// [`Device::seed`] fixes what it draws.
#[derive(Module, Debug)]
pub struct Dropout {
    inner: BurnDropout,
}

impl Dropout {
    /// Dropout with probability `prob`, which lies in `[0, 1)`.
    pub fn new(prob: f64) -> Self {
        Self { inner: DropoutConfig::new(prob).init() }
    }

    /// Whether it drops anything: in training on `device`.
    pub fn is_active(&self, device: &Device) -> bool {
        self.inner.training.is_enabled() && device.is_autodiff() && self.inner.prob > 0.0
    }

    /// What an operation drops that draws by itself: nothing when not training on `device`. Each call draws anew.
    pub fn draw(&self, device: &Device) -> Option<Dropped> {
        self.is_active(device).then(|| Dropped { prob: self.inner.prob, seed: seed(device) })
    }

    /// Same shape out; `x` itself when not training.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let device = x.device();
        if !self.is_active(&device) || !on_host(&device) {
            return self.inner.forward(x);
        }
        dropout(x, Dropped { prob: self.inner.prob, seed: seed(&device) })
    }
}

/// One draw of the device's generator.
fn seed(device: &Device) -> u64 {
    let seed = Tensor::<1>::random([2], Distribution::Uniform(0.0, 1.0), &device.clone().inner()).into_data();
    seed.iter::<f32>().fold(0u64, |seed, part| (seed << 24) ^ (part * (1 << 24) as f32) as u64)
}

/// Whether tensors on `device` lie in the host's memory.
fn on_host(device: &Device) -> bool {
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

    fn drop(dropout: &Dropout, device: &Device) -> Vec<f32> {
        dropout.forward(Tensor::<2>::ones([250, 401], device)).into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_share_is_dropped_and_the_mean_stays() {
        let device = Device::flex().autodiff();
        device.seed(1);
        let out = drop(&Dropout::new(0.1), &device);
        let dropped = out.iter().filter(|&&x| x == 0.0).count() as f64 / out.len() as f64;
        let mean = out.iter().map(|&x| f64::from(x)).sum::<f64>() / out.len() as f64;
        assert!((dropped - 0.1).abs() < 0.005, "{dropped}");
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
        assert!(out.iter().all(|&x| x == 0.0 || x == 1.0 / 0.9f32));
        // Neighbours are independent: a pair is dropped as often as the square says.
        let pairs = out.windows(2).filter(|pair| pair == &[0.0, 0.0]).count() as f64 / out.len() as f64;
        assert!((pairs - 0.01).abs() < 0.002, "{pairs}");
    }

    #[test]
    fn the_seed_decides_and_each_call_differs() {
        let device = Device::flex().autodiff();
        let dropout = Dropout::new(0.5);
        let twice = |seed| {
            device.seed(seed);
            (drop(&dropout, &device), drop(&dropout, &device))
        };
        let (first, second) = twice(7);
        assert_ne!(first, second);
        assert_ne!(twice(8).0, first);
        // The generator is one for the process: a test that runs beside this one may draw from it in between.
        assert!((0..50).any(|_| twice(7) == twice(7)));
    }

    #[test]
    fn nothing_is_dropped_outside_training() {
        let device = Device::flex();
        assert!(drop(&Dropout::new(0.5), &device).iter().all(|&x| x == 1.0));
        let frozen = Dropout::new(0.5).freeze();
        assert!(drop(&frozen, &device.autodiff()).iter().all(|&x| x == 1.0));
    }
}
