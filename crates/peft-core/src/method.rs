//! What a parameter-efficient method is: a module of trainable parameters that answers at some sites.

use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::prelude::*;

use crate::file::key;
use crate::hooks::Hooks;
use crate::site::Site;

/// A trainable method: a Burn module whose parameters are exactly the adapter.
pub trait Method: Module + ModuleDisplay + Hooks {
    /// The method's `peft_type` in configuration files, e.g. `LORA`.
    fn kind(&self) -> &'static str;

    /// Where it acts.
    fn sites(&self) -> Vec<Site>;

    /// How each of its parameters is called and laid out.
    fn stored(&self) -> Vec<Stored>;

    /// What a file holds in place of parameters that are not [`shipped`](Stored::shipped): the value computed from
    /// them, by name. So the reference keeps what a prefix's projection makes and loses the projection.
    fn computed(&self) -> Vec<(String, Tensor<2>)> {
        Vec::new()
    }

    /// How a file calls the trained copy of the parameter `leaf` of a base module.
    fn saved_key(&self, site: &Site, leaf: &str) -> String {
        key(site, leaf)
    }

    /// What is added to the loss in training, `[1]`.
    fn penalty(&self) -> Option<Tensor<1>> {
        None
    }

    /// Whether [`update`](Self::update) does anything.
    fn updates(&self) -> bool {
        false
    }

    /// The method after a step of the optimizer, where it changes itself in training: AdaLoRA's budget.
    fn update(self, step: &Step<'_>) -> Self {
        let _ = step;
        self
    }
}

/// A step of the optimizer that was just taken.
#[derive(Debug)]
pub struct Step<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// Steps of the whole run.
    pub total: usize,
    /// The gradients it was taken with, by parameter.
    pub gradients: &'a GradientsParams,
}

/// A parameter and the tensor that stands for it in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The parameter.
    pub id: ParamId,
    /// The tensor's name: in files if it is shipped, else in the reference's memory.
    pub key: String,
    /// Whether the file holds its transpose, as it does for every matrix of a linear map.
    pub transposed: bool,
    /// Whether files hold it. What they do not is kept in training states alone.
    pub shipped: bool,
}

impl Stored {
    /// A parameter that a file holds as it is under `key`.
    pub fn new(id: ParamId, key: impl Into<String>) -> Self {
        Self { id, key: key.into(), transposed: false, shipped: true }
    }

    /// The same, with its transpose in the file: the matrix of a linear map.
    pub fn transposed(self) -> Self {
        Self { transposed: true, ..self }
    }

    /// The same, left out of files: they hold what is [computed](Method::computed) from it.
    pub fn unshipped(self) -> Self {
        Self { shipped: false, ..self }
    }
}

/// A method that can be folded into the weights.
///
/// Bottleneck adapters, prefixes and prompts do not implement it, so merging one does not compile.
pub trait Fold: Method {
    /// Why this one cannot be merged after all, in half a sentence: for wrappers that learn at run time what they hold.
    fn refusal(&self) -> Option<String> {
        None
    }

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

    fn computed(&self) -> Vec<(String, Tensor<2>)> {
        [self.0.computed(), self.1.computed()].concat()
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        match (self.0.penalty(), self.1.penalty()) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        }
    }

    fn updates(&self) -> bool {
        self.0.updates() || self.1.updates()
    }

    fn update(self, step: &Step<'_>) -> Self {
        (self.0.update(step), self.1.update(step))
    }
}

impl<A: Fold, B: Fold> Fold for (A, B) {
    fn refusal(&self) -> Option<String> {
        self.0.refusal().or_else(|| self.1.refusal())
    }

    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        self.1.fold_matrix(at, leaf, self.0.fold_matrix(at, leaf, value))
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        self.1.fold_vector(at, leaf, self.0.fold_vector(at, leaf, value))
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
