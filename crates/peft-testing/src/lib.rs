#![doc = include_str!("../README.md")]

pub mod laws;
mod mini;

use std::cell::Cell;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::Tolerance;

pub use mini::{HIDDEN, INNER, LAYERS, Mini, VOCABULARY};

/// A kind of adapter, by how it is made: what the laws are tried on.
#[derive(Clone, Copy)]
pub struct Case<P> {
    /// A fresh adapter.
    pub init: fn(&Mini) -> P,
    /// The adapter that the tensors of a file are loaded into.
    pub init_for_loading: fn(&Mini) -> P,
    /// Whether a fresh one changes nothing.
    pub starts_as_base: bool,
}

/// Instantiates the laws that every method keeps, for a method type and named cases of it:
/// `laws!(Lora { plain => case, rank_stabilised => case })`. The caller needs `rstest`.
#[macro_export]
macro_rules! laws {
    ($method:ty { $($name:ident => $case:expr),+ $(,)? }) => {
        #[rstest::rstest]
        $(#[case::$name($case)])+
        fn law_fresh_random_and_disabled(#[case] case: $crate::Case<$method>) {
            $crate::laws::fresh_random_and_disabled(&case);
        }

        #[rstest::rstest]
        $(#[case::$name($case)])+
        fn law_only_the_adapter_gets_gradients(#[case] case: $crate::Case<$method>, #[values(false, true)] recomputed: bool) {
            $crate::laws::only_the_adapter_gets_gradients(&case, recomputed);
        }

        #[rstest::rstest]
        $(#[case::$name($case)])+
        fn law_saving_what_was_loaded_gives_the_same_bytes(#[case] case: $crate::Case<$method>) {
            $crate::laws::saving_what_was_loaded_gives_the_same_bytes(&case);
        }

        #[rstest::rstest]
        $(#[case::$name($case)])+
        fn law_rows_equal_separate_runs(#[case] case: $crate::Case<$method>) {
            $crate::laws::rows_equal_separate_runs(&case);
        }

        #[rstest::rstest]
        $(#[case::$name($case)])+
        fn law_names_never_mix(#[case] case: $crate::Case<$method>) {
            $crate::laws::names_never_mix(&case);
        }
    };
}

/// Instantiates the laws of methods that merge, as [`laws!`] does its own.
#[macro_export]
macro_rules! merging_laws {
    ($method:ty { $($name:ident => $case:expr),+ $(,)? }) => {
        #[rstest::rstest]
        $(#[case::$name($case)])+
        fn law_merged_is_unmerged(#[case] case: $crate::Case<$method>) {
            $crate::laws::merged_is_unmerged(&case);
        }
    };
}

/// Token ids for `rows` rows of five positions, all different.
pub fn ids(rows: usize, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = (0..rows * 5).map(|i| ((i * 7 + 3) % VOCABULARY) as i64).collect();
    Tensor::from_data(TensorData::new(ids, [rows, 5]), device)
}

/// `module` with normal noise of standard deviation `by` added to every parameter: of numbers of the test's own, since
/// the device's generator is one for the process and tests run beside each other.
pub fn shake<M: Module>(module: M, by: f64) -> M {
    module.map(&mut Noise { by, over: false })
}

/// `module` with such noise for every matrix, whatever it held, and added to every vector: the same each time.
pub fn drawn<M: Module>(module: M, by: f64) -> M {
    module.map(&mut Noise { by, over: true })
}

struct Noise {
    by: f64,
    /// Whether a matrix's values go.
    over: bool,
}

impl ModuleMapper for Noise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|old| {
            let (grad, noise) = (old.is_require_grad(), noise(&old, self.by));
            let new = if self.over && D > 1 { noise } else { old + noise };
            new.detach().set_require_grad(grad)
        })
    }
}

/// Normal noise of standard deviation `by`, shaped like `like`. Each thread, and so each test, draws the same sequence.
fn noise<const D: usize>(like: &Tensor<D>, by: f64) -> Tensor<D> {
    thread_local!(static DRAWN: Cell<u64> = const { Cell::new(0) });
    let draw = || {
        // SplitMix64 (Steele et al. 2014).
        let state = DRAWN.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        DRAWN.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    // Box and Muller 1958.
    let normal = || (-2.0 * (1.0 - draw()).ln()).sqrt() * (std::f64::consts::TAU * draw()).cos();
    let values = (0..like.shape().num_elements()).map(|_| (by * normal()) as f32).collect();
    Tensor::from_data(TensorData::new(values, like.shape()), &like.device())
}

/// Asserts that the two results of `run`, which seeds the device's generator before each, are close in one of 50 tries:
/// the generator is one for the process, and a test that runs beside this one may draw from it in between.
///
/// # Panics
/// If they never are.
#[track_caller]
pub fn close_undisturbed<const D: usize>(run: impl Fn() -> (Tensor<D>, Tensor<D>)) {
    let apart = |(got, want): (Tensor<D>, Tensor<D>)| (got - want).abs().max().into_scalar::<f32>();
    if !(0..50).any(|_| apart(run()) < 1e-5) {
        let (got, want) = run();
        close(got, want);
    }
}

/// Asserts that two tensors are equal to 1e-5·(1 + the largest value).
///
/// # Panics
/// If they are not.
#[track_caller]
pub fn close<const D: usize>(got: Tensor<D>, want: Tensor<D>) {
    let want = want.into_data();
    let bound = 1e-5 * (1.0 + want.iter::<f32>().fold(0.0f32, |max, x| max.max(x.abs())));
    got.into_data().assert_approx_eq::<f32>(&want, Tolerance::absolute(bound));
}

/// Asserts that two tensors differ.
///
/// # Panics
/// If no value differs by more than 1e-3.
#[track_caller]
pub fn far<const D: usize>(got: Tensor<D>, from: Tensor<D>) {
    let apart = (got - from).abs().max().into_scalar::<f32>();
    assert!(apart > 1e-3, "only {apart} apart");
}
