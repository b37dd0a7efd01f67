#![doc = include_str!("../README.md")]

pub mod laws;
mod mini;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::{Distribution, Tolerance};

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

/// `module` with normal noise of standard deviation `by` added to every parameter.
pub fn shake<M: Module>(module: M, by: f64) -> M {
    struct Shake(f64);
    impl ModuleMapper for Shake {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let by = self.0;
            param.map(|old| {
                let noise = Tensor::random(old.shape(), Distribution::Normal(0.0, by), &old.device());
                let grad = old.is_require_grad();
                (old + noise).detach().set_require_grad(grad)
            })
        }
    }
    module.map(&mut Shake(by))
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
