//! What a parameter-efficient method is: a module of trainable parameters that answers at some sites.

use burn::module::{Module, ModuleDisplay, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;

use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::site::Site;

/// A trainable method: a Burn module whose parameters are exactly the adapter.
pub trait Method: Module + ModuleDisplay + Hooks {
    /// The method's `peft_type` in configuration files, e.g. `LORA`.
    fn kind(&self) -> &'static str;

    /// Where it acts.
    fn sites(&self) -> Vec<Site>;

    /// How each of its parameters is called and laid out in an adapter file.
    fn stored(&self) -> Vec<Stored>;
}

/// A parameter and the tensor that stands for it in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The parameter.
    pub id: ParamId,
    /// The tensor's name without the `base_model.model.` in front, e.g. `classifier.weight`.
    pub key: String,
    /// Whether the file holds its transpose, as it does for every matrix of a linear map.
    pub transposed: bool,
}

/// A method that can be folded into the weights.
///
/// Bottleneck adapters, prefixes and prompts do not implement it, so merging one does not compile.
pub trait Fold: Method {
    /// The matrix parameter `leaf` (`weight`) of the module at `at` with the adapter in it; same shape.
    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2>;

    /// The vector parameter `leaf` (`weight` of a normalisation, `bias`) of the module at `at`; same shape.
    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        let _ = (at, leaf);
        value
    }
}

impl<A: Method, B: Method> Method for (A, B) {
    fn kind(&self) -> &'static str {
        "COMPOSED"
    }

    fn sites(&self) -> Vec<Site> {
        [self.0.sites(), self.1.sites()].concat()
    }

    fn stored(&self) -> Vec<Stored> {
        [self.0.stored(), self.1.stored()].concat()
    }
}

impl<A: Fold, B: Fold> Fold for (A, B) {
    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        self.1.fold_matrix(at, leaf, self.0.fold_matrix(at, leaf, value))
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        self.1.fold_vector(at, leaf, self.0.fold_vector(at, leaf, value))
    }
}

/// Merges `method` into the weights of `backbone`: the result under [`Identity`](crate::Identity) equals
/// `backbone` under the method. The backbone given is not changed (cloned modules share weights), so unmerging
/// is keeping it.
///
/// # Errors
/// [`Error::Misfit`] with the sites the backbone does not have; [`Error::NotFinite`] if a merged weight is not
/// a number.
pub fn merge<M: Module, P: Fold>(backbone: M, method: &P) -> Result<M> {
    let mut merger = Merger { method, sites: method.sites(), seen: Vec::new(), path: Vec::new(), error: None };
    let merged = backbone.map(&mut merger);
    if let Some(error) = merger.error {
        return Err(error);
    }
    let lost: Vec<_> = merger.sites.iter().filter(|s| !merger.seen.contains(s)).map(Site::name).collect();
    if !lost.is_empty() {
        return Err(Error::Misfit(format!("it acts on modules the model does not have: {}", lost.join(", "))));
    }
    Ok(merged)
}

struct Merger<'a, P> {
    method: &'a P,
    sites: Vec<Site>,
    seen: Vec<Site>,
    path: Vec<String>,
    error: Option<Error>,
}

impl<P: Fold> ModuleMapper for Merger<'_, P> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((leaf, owner)) = self.path.split_last() else { return param };
        let owner = owner.join(".");
        let Some(site) = self.sites.iter().find(|s| s.path() == owner).cloned() else { return param };
        let dims: [usize; D] = param.lazy_shape().dims();
        let folded = match D {
            2 => self.method.fold_matrix(&site, leaf, param.val().reshape([dims[0], dims[1]])).reshape(dims),
            1 => self.method.fold_vector(&site, leaf, param.val().reshape([dims[0]])).reshape(dims),
            _ => return param,
        };
        let folded: Tensor<D> = folded.detach();
        let bad = folded.clone().sub(folded.clone()).not_equal_scalar(0.0).int().sum().into_scalar::<i64>();
        if bad != 0 && self.error.is_none() {
            self.error = Some(Error::NotFinite { site: format!("{}.{leaf}", site.name()), count: bad as usize });
        }
        self.seen.push(site);
        param.map(|old| folded.set_require_grad(old.is_require_grad()))
    }
}

/// A module's parameters by id, as `(module path, id)` in visiting order.
pub fn param_ids<M: Module>(module: &M) -> Vec<(String, ParamId)> {
    #[derive(Default)]
    struct Ids {
        path: Vec<String>,
        found: Vec<(String, ParamId)>,
    }
    impl ModuleVisitor for Ids {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.push((self.path.join("."), param.id));
        }
    }
    let mut ids = Ids::default();
    module.visit(&mut ids);
    ids.found
}
