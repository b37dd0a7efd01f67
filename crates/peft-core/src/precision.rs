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
