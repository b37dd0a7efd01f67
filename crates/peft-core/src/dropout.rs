//! Dropout whose masks cost next to nothing on a CPU.
//!
//! Burn's draws one number of a cryptographic generator for each element, on one thread: a fifth of a training step
//! of a small model. Here, where the tensors are in the host's memory, one draw ([`crate::draw`]) seeds a counter-based
//! generator ([`peft_kernels::dropout`]). On other devices it is Burn's own.
//!
//! What draws is one generator for the process. Where several threads train at once, each draws under
//! [`with_own_draws`] instead, so that what is dropped does not depend on which of them came first. Where something is
//! computed twice, [`Draws`] has the second time drop what the first did.

use std::cell::Cell;
use std::sync::Mutex;

use burn::module::Module;
use burn::nn::{Dropout as BurnDropout, DropoutConfig};
use burn::prelude::*;
use burn::tensor::Distribution;
use peft_kernels::attention::Dropped;
use peft_kernels::dropout::dropout;

use crate::draw::{self, numbers};

thread_local! {
    /// The counter that this thread draws from in place of the process's generator.
    static OWN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `run`; what [`Dropout`] draws in it on this thread is a function of `seed` alone, whatever other threads draw.
pub fn with_own_draws<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    Draws { own: Some(seed), process: None }.again(run)
}

/// Where the draws of [`Dropout`] on this thread stand, so that they can be drawn again.
#[derive(Clone, Debug)]
pub struct Draws {
    own: Option<u64>,
    /// Of a thread that has none of its own.
    process: Option<draw::State>,
}

impl Draws {
    /// Where they stand now.
    pub fn here() -> Self {
        let own = OWN.get();
        Self { own, process: own.is_none().then(draw::State::here) }
    }

    /// Whether they can be drawn again on `device`: one that draws its own masks does not go back, but under
    /// [`with_own_draws`].
    pub fn are_repeatable(device: &Device) -> bool {
        OWN.get().is_some() || on_host(device)
    }

    /// Runs `run`, in which this thread draws from here on. What stood before stands again afterwards.
    pub fn again<T>(&self, run: impl FnOnce() -> T) -> T {
        /// Puts back what was there, also when `run` panics.
        struct Restore(Option<u64>, Option<draw::State>);
        impl Drop for Restore {
            fn drop(&mut self) {
                OWN.set(self.0);
                if let Some(state) = self.1 {
                    state.restore();
                }
            }
        }
        let _restore = Restore(OWN.replace(self.own), self.process.map(|_| draw::State::here()));
        if let Some(state) = self.process {
            state.restore();
        }
        run()
    }
}

/// The next number of this thread's own, if it has any (SplitMix64, Steele et al. 2014).
fn own_draw() -> Option<u64> {
    let state = OWN.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    OWN.set(Some(state));
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(z ^ (z >> 31))
}

/// Sets each element to zero with a probability and scales the others, in training (Srivastava et al. 2014).
///
/// [`draw::seed`](crate::draw::seed) fixes what it draws.
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
        if !self.is_active(&device) {
            return self.inner.forward(x);
        }
        match (on_host(&device), own_draw()) {
            (true, own) => dropout(x, Dropped { prob: self.inner.prob, seed: own.unwrap_or_else(|| seed_of(&device)) }),
            (false, Some(seed)) => masked(x, Dropped { prob: self.inner.prob, seed }),
            (false, None) => self.inner.forward(x),
        }
    }
}

/// Dropout by a mask that the device draws itself. Nobody else who draws here comes between the seed and the draw.
fn masked<const D: usize>(x: Tensor<D>, Dropped { prob, seed }: Dropped) -> Tensor<D> {
    static DRAWING: Mutex<()> = Mutex::new(());
    let device = x.device();
    let mask = {
        let _alone = DRAWING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        device.seed(seed);
        let mask = Tensor::<D>::random(x.dims(), Distribution::Bernoulli(1.0 - prob), &device);
        // A backend that collects operations would draw later. One that cannot dispatch fails at the next read.
        let _ = device.flush();
        mask
    };
    x.clone() * (mask * (1.0 / (1.0 - prob))).cast(x.dtype())
}

/// A number of this thread's own, or one of the generator of the process.
fn seed(device: &Device) -> u64 {
    own_draw().unwrap_or_else(|| seed_of(device))
}

fn seed_of(device: &Device) -> u64 {
    let parts = numbers(2, Distribution::Uniform(0.0, 1.0), device);
    parts.into_iter().fold(0u64, |seed, part| (seed << 24) ^ (part * (1 << 24) as f32) as u64)
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
    use crate::draw;

    fn drop(dropout: &Dropout, device: &Device) -> Vec<f32> {
        dropout.forward(Tensor::<2>::ones([250, 401], device)).into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_share_is_dropped_and_the_mean_stays() {
        let device = Device::flex().autodiff();
        draw::seed(&device, 1);
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
            draw::seed(&device, seed);
            (drop(&dropout, &device), drop(&dropout, &device))
        };
        let (first, second) = twice(7);
        assert_ne!(first, second);
        assert_ne!(twice(8).0, first);
        // The generator is one for the process: a test that runs beside this one may draw from it in between.
        assert!((0..50).any(|_| twice(7) == twice(7)));
    }

    #[test]
    fn a_thread_that_draws_its_own_is_not_disturbed() {
        let device = Device::flex().autodiff();
        let dropout = Dropout::new(0.5);
        let own = |seed| with_own_draws(seed, || [drop(&dropout, &device), drop(&dropout, &device)]);
        let want = own(7);
        assert_ne!(want[0], want[1]);
        assert_ne!(own(8), want);
        std::thread::scope(|threads| {
            let beside = threads.spawn(|| own(8));
            assert_eq!(own(7), want);
            assert_eq!(beside.join().unwrap(), own(8));
        });
        let inside = with_own_draws(7, || {
            own(8);
            drop(&dropout, &device)
        });
        assert_eq!(inside, want[0], "what was there is put back");
        assert!(own_draw().is_none());
    }

    #[test]
    fn what_was_drawn_is_drawn_again() {
        let device = Device::flex().autodiff();
        let dropout = Dropout::new(0.5);
        let twice = || {
            let start = Draws::here();
            let first = drop(&dropout, &device);
            let after = Draws::here();
            let second = drop(&dropout, &device);
            let again = start.again(|| drop(&dropout, &device));
            (first == again && first != second, after.again(|| drop(&dropout, &device)) == second)
        };
        assert_eq!(with_own_draws(7, twice), (true, true));
        draw::seed(&device, 7);
        // As above: a test that runs beside this one may draw in between.
        assert!((0..50).any(|_| twice() == (true, true)));
        assert!(Draws::are_repeatable(&device));
    }

    #[test]
    fn a_mask_of_the_devices_own_is_one_too() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::ones([250, 401], &device);
        let of = |seed| masked(x.clone(), Dropped { prob: 0.25, seed }).into_data();
        let values: Vec<f32> = of(3).iter::<f32>().collect();
        let kept = values.iter().filter(|&&x| x != 0.0).count() as f64 / values.len() as f64;
        assert!((kept - 0.75).abs() < 0.01, "{kept}");
        assert!(values.iter().all(|&x| x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn nothing_is_dropped_outside_training() {
        let device = Device::flex();
        assert!(drop(&Dropout::new(0.5), &device).iter().all(|&x| x == 1.0));
        let frozen = Dropout::new(0.5).freeze();
        assert!(drop(&frozen, &device.autodiff()).iter().all(|&x| x == 1.0));
    }
}
