//! Frozen weights of 8 or 4 bits: what QLoRA (Dettmers et al. 2023, arXiv:2305.14314) trains on.
//!
//! No method knows of it. A quantised weight is expanded in the product of the layer that it belongs to, forward and
//! backward (the CPU's kernel expands what of it a core multiplies next), and its adapter is in full precision beside it.
//! What reads a weight (the norm of DoRA, a start at the weight's own factors, a trained copy) reads the expanded values.
//! Merging gives weights in full precision, equal to the quantised ones with the adapter in them; to quantise them again is
//! another rounding, and the user's to ask for.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::quantization::{QuantScheme, QuantValue, ScaleDtype};

use crate::backbone::Backbone;
use crate::error::{Error, Result};
use crate::site::{SiteKind, Sites};

/// How many bits a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Whole numbers from -127 to 127 times a scale.
    Eight,
    /// Whole numbers from -7 to 7 times a scale.
    Four,
}

/// A scheme for `device`: values of `bits`, and a scale for each `block` values of a row, or for the whole weight.
///
/// The host's backends keep four bits in eight; others pack them.
pub fn scheme(device: &Device, bits: Bits, block: Option<u8>) -> QuantScheme {
    let value = match bits {
        Bits::Eight => QuantValue::Q8S,
        Bits::Four => QuantValue::Q4S,
    };
    let scheme = device.settings().quantization.scheme.with_value(value);
    match block {
        Some(block) => scheme.per_block([block], ScaleDtype::F32),
        None => scheme.per_tensor(ScaleDtype::F32),
    }
}

/// `backbone` with the weights of its linear layers quantised by `scheme`: not those of its head, and no table, bias or
/// normalisation. The backbone given is not changed. Freeze the result: what is quantised cannot be trained. A skeleton stays
/// one: its parameters are quantised one by one as they are loaded or drawn, so that no more than one is ever held whole.
///
/// # Errors
/// [`Error::Config`] naming a weight that the scheme's blocks do not divide.
pub fn quantise<M: Backbone>(backbone: M, scheme: &QuantScheme) -> Result<M> {
    let sites = backbone.sites().clone();
    for (entry, shape) in sites.linears().filter(|(entry, _)| !entry.head) {
        let block = scheme.block_size().map_or([1, 1], |size| {
            let dims = size.to_dim_vec(2);
            [usize::from(dims[0]), usize::from(dims[1])]
        });
        if shape.iter().zip(block).any(|(size, block)| block == 0 || size % block != 0) {
            return Err(Error::config(
                "block",
                format!("the weight of `{}` is {shape:?}, which blocks of {block:?} do not divide", entry.site),
            ));
        }
    }
    let device = backbone.device();
    Ok(backbone.map(&mut Quantiser { scheme, device, sites, path: Vec::new() }))
}

/// Whether `tensor` holds quantised values.
pub fn is_quantised<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::QFloat(_))
}

struct Quantiser<'a> {
    scheme: &'a QuantScheme,
    /// The device it is made for.
    device: Device,
    sites: Sites,
    path: Vec<String>,
}

impl ModuleMapper for Quantiser<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((_, owner)) = self.path.split_last() else { return param };
        let linear = |kind| matches!(kind, SiteKind::Linear { .. });
        match self.sites.by_path(&owner.join(".")) {
            Some(entry) if D == 2 && linear(entry.kind) && !entry.head => {
                let (scheme, made_for) = (*self.scheme, self.device.clone());
                let smaller = move |weight: Tensor<D>| {
                    // Of several devices each packs values its own way.
                    let device = weight.device();
                    let store = device.settings().quantization.scheme.store;
                    let scheme = if device == made_for { scheme } else { scheme.with_store(store) };
                    quantised(weight.dequantize().detach(), &scheme)
                };
                param.init_mapper(smaller.clone()).load_mapper(smaller)
            }
            _ => param,
        }
    }
}

/// `weight` by `scheme`.
fn quantised<const D: usize>(weight: Tensor<D>, scheme: &QuantScheme) -> Tensor<D> {
    #[cfg(feature = "ndarray")]
    #[allow(deprecated)] // The backend, not what is used of it.
    if scheme.value == QuantValue::Q4S && weight.device().inner() == Device::ndarray() {
        use burn::tensor::quantization::{Calibration, compute_q_params, compute_range};
        // It takes whole numbers of eight bits alone: of these, the fifteen that four bits have.
        let of_four = compute_q_params(scheme, compute_range(scheme, &weight, &Calibration::MinMax));
        return weight.quantize(&scheme.with_value(QuantValue::Q8S), of_four);
    }
    weight.quantize_dynamic(scheme)
}

#[cfg(test)]
mod tests {
    use burn::module::Module;

    use super::*;
    use crate::nn::{Embedding, Linear};
    use crate::{Hooks, Identity, LinearOp, Scope, Site};

    #[derive(Module, Debug)]
    struct Tiny {
        words: Embedding,
        up: Linear,
        head: Linear,
        #[module(skip)]
        sites: Sites,
    }

    impl Backbone for Tiny {
        fn sites(&self) -> &Sites {
            &self.sites
        }
    }

    fn tiny(device: &Device) -> Tiny {
        let scope = Scope::root(device, |path| path.to_string());
        Tiny {
            words: scope.vocabulary("words", 4, 8),
            up: scope.linear("up", 8, 12, true),
            head: scope.head().linear("head", 12, 4, true),
            sites: scope.sites(),
        }
        .no_grad()
    }

    fn site(tiny: &Tiny) -> Site {
        tiny.sites.by_path("up").unwrap().site.clone()
    }

    #[test]
    fn the_weights_of_the_body_alone_are_quantised() {
        let device = Device::flex();
        let tiny = tiny(&device);
        for (bits, block, error) in [
            (Bits::Eight, None, 0.01),
            (Bits::Eight, Some(4), 0.006),
            (Bits::Four, None, 0.16),
            (Bits::Four, Some(4), 0.11),
        ] {
            let small = quantise(tiny.clone(), &scheme(&device, bits, block)).unwrap();
            assert!(is_quantised(&small.up.weight.val()) && !is_quantised(&small.up.bias.as_ref().unwrap().val()));
            assert!(!is_quantised(&small.head.weight.val()) && !is_quantised(&small.words.weight.val()));
            // What reads the weight reads its expanded values.
            let (full, read) = (tiny.up.weight.val(), small.matrix(&site(&small)).unwrap());
            let largest = full.clone().abs().max().into_scalar::<f32>();
            let apart = (full - read.clone()).abs().max().into_scalar::<f32>();
            assert!(apart > 0.0 && apart < error * largest, "{bits:?} {block:?}: {apart} of {largest}");
            let x = Tensor::<3>::ones([1, 2, 8], &device);
            let at = site(&small);
            let op = LinearOp::new(&at, small.up.weight.val(), None);
            let apart = (op.weight_inside() - read.clone()).abs().max().into_scalar::<f32>();
            assert_eq!(apart, 0.0);
            let dense = burn::tensor::module::linear(x.clone(), read, None);
            assert!((Identity.linear(op, x) - dense).abs().max().into_scalar::<f32>() < 1e-6);
        }
    }

    #[test]
    fn blocks_that_do_not_divide_a_weight_are_named() {
        let device = Device::flex();
        let error = quantise(tiny(&device), &scheme(&device, Bits::Eight, Some(8))).unwrap_err().to_string();
        assert!(error.contains("`up` is [8, 12]"), "{error}");
    }
}
