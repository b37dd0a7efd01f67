//! What a method needs to know of a backbone.

use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param};
use burn::prelude::*;

use crate::precision::widen;
use crate::site::{Site, Sites};

/// A frozen network that announces where it can be adapted.
///
/// It says nothing of its inputs and outputs: methods do not see them. A backbone's forward pass takes the
/// [`Hooks`](crate::Hooks) in force as an argument.
pub trait Backbone: Module + ModuleDisplay {
    /// Every place at which a method may act, in the model's order.
    fn sites(&self) -> &Sites;

    /// Where its input is read: the device of its first parameter. What an adapter has that belongs to no layer lives
    /// there.
    fn device(&self) -> Device {
        self.devices().into_iter().next().unwrap_or_default()
    }

    /// Where the module at a site lives, and what an adapter has for it.
    fn device_at(&self, at: &Site) -> Device {
        let mut find = FindDevice { path: at.path(), at: Vec::new(), found: None };
        self.visit(&mut find);
        find.found.unwrap_or_else(|| self.device())
    }

    /// The value of the matrix at a site (`[d_in, d_out]` of a linear map, `[rows, d_model]` of a table), apart from
    /// any graph.
    fn matrix(&self, at: &Site) -> Option<Tensor<2>> {
        let mut find = Find { path: at.path(), at: Vec::new(), found: None };
        self.visit(&mut find);
        find.found
    }
}

struct FindDevice<'a> {
    path: &'a str,
    at: Vec<String>,
    found: Option<Device>,
}

impl ModuleVisitor for FindDevice<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.at.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.at.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let below = |path: String| path.strip_prefix(self.path).is_some_and(|rest| rest.starts_with('.'));
        if self.found.is_none() && below(self.at.join(".")) {
            self.found = Some(param.lazy_device());
        }
    }
}

struct Find<'a> {
    path: &'a str,
    at: Vec<String>,
    found: Option<Tensor<2>>,
}

impl ModuleVisitor for Find<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.at.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.at.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some((_, owner)) = self.at.split_last() else { return };
        if D == 2 && owner.join(".") == self.path {
            let value = widen(param.val().dequantize().detach());
            let dims: [usize; D] = value.dims();
            self.found = Some(value.reshape([dims[0], dims[1]]));
        }
    }
}
