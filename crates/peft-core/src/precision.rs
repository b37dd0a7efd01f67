//! Frozen weights in half precision, and adapters in f32 beside them.
//!
//! A hook sees f32, whatever the base is in: what enters it is widened, which loses nothing, and what leaves it is
//! rounded to the base's type. Inside, an operation of the base runs in the type of its weight. So no method knows of
//! it, its parameters and their gradients are in f32, and the states that are kept for the backward pass are as small as
//! the base's. Normalisations, softmax and scores are computed in f32 by the models. There is no scaling of the loss.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;

use crate::backbone::Backbone;
use crate::error::{Error, Result};
use crate::site::Sites;

/// The largest finite value of f16.
const F16_MAX: f32 = 65504.0;

/// `backbone` with its parameters in `dtype`: all but those that its sites keep in f32 and those that are quantised. A
/// skeleton stays one: its parameters are in `dtype` when they are loaded or drawn, so that no more is ever held.
///
/// # Errors
/// [`Error::Config`] for a type other than f32, f16 and bf16.
pub fn to_dtype<M: Backbone>(backbone: M, dtype: DType) -> Result<M> {
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        let reason = format!("{} is no type for frozen weights; use f32, f16 or bf16", dtype.name());
        return Err(Error::config("dtype", reason));
    }
    let sites = backbone.sites().clone();
    Ok(backbone.map(&mut Caster { dtype, sites, path: Vec::new() }))
}

struct Caster {
    dtype: DType,
    sites: Sites,
    path: Vec<String>,
}

impl ModuleMapper for Caster {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let owner = self.path.split_last().map(|(_, owner)| owner.join("."));
        let wide = owner.is_some_and(|owner| self.sites.by_path(&owner).is_some_and(|entry| entry.wide));
        let dtype = if wide { DType::F32 } else { self.dtype };
        let cast = move |value: Tensor<D>| {
            if value.dtype() == dtype || matches!(value.dtype(), DType::QFloat(_)) {
                return value;
            }
            let (trains, autodiff) = (value.is_require_grad(), value.device().is_autodiff());
            // A leaf again: a cast of a tracked value would be none.
            let value = if autodiff { value.without_autodiff().cast(dtype).autodiff() } else { value.cast(dtype) };
            value.set_require_grad(trains)
        };
        param.init_mapper(cast).load_mapper(cast)
    }
}

/// Whether values of `dtype` have half the bits of f32.
pub fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// `x` in f32 if it is in half precision, else as it is.
pub fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_half(x.dtype()) { x.cast(DType::F32) } else { x }
}

/// `x` in `dtype` if that is half precision, else as it is. Nothing becomes infinite that was not: f16 ends where f32
/// does not.
pub fn narrow<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    match dtype {
        DType::F16 if x.dtype() != dtype => x.clamp(-F16_MAX, F16_MAX).cast(dtype),
        DType::F16 => x.clamp(-F16_MAX, F16_MAX),
        DType::BF16 => x.cast(dtype),
        _ => x,
    }
}

/// The type of a sum of values of two types.
pub(crate) fn wider(a: DType, b: DType) -> DType {
    if is_half(a) && a != b { if is_half(b) { DType::F32 } else { b } } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Linear;
    use crate::{Hooks, Identity, LinearOp, Scope};

    /// Notes what type a hook is given, and adds a path in f32.
    struct Beside;

    impl Hooks for Beside {
        fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
            assert_eq!((x.dtype(), op.weight_inside().dtype()), (DType::F32, DType::F32));
            let path = x.clone() * 1e-4;
            let y = op.run(x);
            assert_eq!(y.dtype(), DType::F32);
            y + path
        }
    }

    fn linear(weight: f32, device: &Device) -> Linear {
        let scope = Scope::root(device, |path| path.to_string());
        let mut linear = scope.linear("up", 2, 2, false);
        let weight = Tensor::<2>::from_data([[weight, 0.0], [0.0, weight]], device).cast(DType::F16);
        linear.weight = Param::from_tensor(weight);
        linear
    }

    #[test]
    fn a_hook_sees_full_precision_and_the_base_gets_its_own_back() {
        let device = Device::flex();
        let x = Tensor::<3>::from_data([[[1.0, 2.0]]], &device).cast(DType::F16);
        let linear = linear(1.0, &device);
        assert_eq!(linear.forward(x.clone(), &Beside).dtype(), DType::F16);
        // In f32 what the hook adds is there; f16 has no such value beside 1.
        let scores = linear.scores(x.clone(), &Beside).into_data();
        assert_eq!(scores, TensorData::from([[[1.0f32 + 1e-4, 2.0 + 2e-4]]]));
        assert_eq!(linear.forward(x.clone(), &Beside).into_data(), x.into_data());
    }

    #[test]
    fn nothing_becomes_infinite_by_rounding() {
        let device = Device::flex();
        let x = Tensor::<3>::from_data([[[300.0, -2.0]]], &device).cast(DType::F16);
        // 300 · 300 is beyond f16, in the product itself.
        let y = linear(300.0, &device).forward(x, &Identity);
        assert_eq!(y.cast(DType::F32).into_data(), TensorData::from([[[F16_MAX, -600.0]]]));
        let far = Tensor::<1>::from_data([1e6, -1e6, 1.0], &device);
        assert_eq!(
            narrow(far.clone(), DType::F16).cast(DType::F32).into_data(),
            TensorData::from([F16_MAX, -F16_MAX, 1.0])
        );
        assert_eq!(narrow(far.clone(), DType::F32).into_data(), far.into_data());
    }

    #[test]
    fn a_sum_is_of_the_wider_type() {
        use DType::{BF16, F16, F32};
        for (a, b, want) in [(F16, F16, F16), (F16, F32, F32), (F32, BF16, F32), (F16, BF16, F32), (F32, F32, F32)] {
            assert_eq!(wider(a, b), want);
        }
    }
}
