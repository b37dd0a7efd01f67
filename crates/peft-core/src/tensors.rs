//! Between a method's parameters and the named tensors of a file.
//!
//! A method lists how its parameters are stored ([`Stored`]); everything that follows from such a list (saving,
//! loading, reading gradients under the file's names) is done here, once.

use std::collections::{BTreeMap, HashMap};

use burn::module::{ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;
use burn::tensor::{DType, Gradients};

use crate::error::{Error, Result};
use crate::method::{Method, Stored};

/// Tensors by their name in a file.
pub type Tensors = BTreeMap<String, TensorData>;

/// What an adapter file holds of `method`: its shipped parameters, what is computed from the others, and the whole
/// numbers it was built with.
pub fn export<P: Method>(method: &P) -> Tensors {
    let mut out = values(method, |stored| stored.shipped);
    out.extend(constants(method));
    out.extend(method.computed().into_iter().map(|(key, tensor)| (key, tensor.into_data())));
    out
}

/// All parameters of `method` by name, those that files leave out included; not the whole numbers, which nothing trains.
pub fn parameters<P: Method>(method: &P) -> Tensors {
    values(method, |_| true)
}

fn values<P: Method>(method: &P, wanted: fn(&Stored) -> bool) -> Tensors {
    struct Visit {
        stored: HashMap<ParamId, Stored>,
        out: Tensors,
    }
    impl ModuleVisitor for Visit {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(stored) = self.stored.get(&param.id) {
                self.out.insert(stored.key.clone(), lay_out(param.val(), stored.transposed));
            }
        }
    }
    let mut visit = Visit { stored: by_id(method), out: Tensors::new() };
    visit.stored.retain(|_, stored| wanted(stored));
    method.visit(&mut visit);
    visit.out
}

/// The whole numbers `method` was built with, such as the positions of a sparse mask: as 32 bits on any backend.
fn constants<P: Method>(method: &P) -> Tensors {
    struct Visit {
        stored: HashMap<ParamId, Stored>,
        out: Tensors,
    }
    impl ModuleVisitor for Visit {
        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            if let Some(stored) = self.stored.get(&param.id) {
                self.out.insert(stored.key.clone(), param.val().into_data().convert_dtype(DType::I32));
            }
        }
    }
    let mut visit = Visit { stored: by_id(method), out: Tensors::new() };
    method.visit(&mut visit);
    visit.out
}

/// Gradients of the parameters of `method`, under the names and in the layout of an adapter file.
/// A parameter that got no gradient is left out.
pub fn export_gradients<P: Method>(method: &P, gradients: &Gradients) -> Tensors {
    struct Visit<'a> {
        stored: HashMap<ParamId, Stored>,
        gradients: &'a Gradients,
        out: Tensors,
    }
    impl ModuleVisitor for Visit<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let (Some(stored), Some(grad)) = (self.stored.get(&param.id), param.val().grad(self.gradients)) else {
                return;
            };
            self.out.insert(stored.key.clone(), lay_out(grad, stored.transposed));
        }
    }
    let mut visit = Visit { stored: by_id(method), gradients, out: Tensors::new() };
    method.visit(&mut visit);
    visit.out
}

/// `method` with every parameter set from `tensors`, by name, in f32. The whole numbers it was built with have to be
/// those of `tensors`.
///
/// # Errors
/// [`Error::Misfit`] naming every missing, unexpected and mis-shaped tensor.
pub fn import<P: Method>(method: P, mut tensors: Tensors) -> Result<P> {
    let mut faults = Vec::new();
    for (key, built) in constants(&method) {
        match tensors.remove(&key) {
            None => faults.push(format!("`{key}` is missing")),
            Some(data) if data.shape() == built.shape() && data.iter::<i64>().eq(built.iter::<i64>()) => {}
            Some(_) => faults.push(format!("`{key}` is not what the adapter was built with")),
        }
    }
    struct Fill<'a> {
        stored: HashMap<ParamId, Stored>,
        tensors: &'a mut Tensors,
        faults: Vec<String>,
    }
    impl ModuleMapper for Fill<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(stored) = self.stored.get(&param.id) else { return param };
            let Some(data) = self.tensors.remove(&stored.key) else {
                self.faults.push(format!("`{}` is missing", stored.key));
                return param;
            };
            let mut want: Vec<usize> = param.lazy_shape().to_vec();
            if stored.transposed {
                want.reverse();
            }
            if data.shape().to_vec() != want {
                let got = data.shape().to_vec();
                self.faults.push(format!("`{}` has shape {got:?} where the model needs {want:?}", stored.key));
                return param;
            }
            let transposed = stored.transposed;
            param.map(|old| {
                let new: Tensor<D> = Tensor::from_data(data.convert_dtype(DType::F32), &old.device());
                let new = if transposed { contiguous(new.transpose()) } else { new };
                new.set_require_grad(old.is_require_grad())
            })
        }
    }
    let mut fill = Fill { stored: by_id(&method), tensors: &mut tensors, faults };
    let method = method.map(&mut fill);
    let mut faults = fill.faults;
    faults.extend(tensors.keys().map(|key| format!("`{key}` is unexpected")));
    if faults.is_empty() { Ok(method) } else { Err(Error::Misfit(summarise(&faults))) }
}

fn by_id<P: Method>(method: &P) -> HashMap<ParamId, Stored> {
    method.stored().into_iter().map(|stored| (stored.id, stored)).collect()
}

fn lay_out<const D: usize>(tensor: Tensor<D>, transposed: bool) -> TensorData {
    let tensor = if transposed { tensor.transpose() } else { tensor };
    tensor.into_data()
}

/// A copy in memory order: a transposed view would be reordered at every product it enters.
fn contiguous<const D: usize>(view: Tensor<D>) -> Tensor<D> {
    let device = view.device();
    Tensor::from_data(view.into_data(), &device)
}

/// The first faults of a list that may be as long as the model is deep.
fn summarise(faults: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = faults.len().saturating_sub(SHOWN);
    let shown = faults[..faults.len().min(SHOWN)].join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}
