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

    /// Where its parameters live, and those of its adapters with them.
    fn device(&self) -> Device {
        self.devices().into_iter().next().unwrap_or_default()
    }

    /// The value of the matrix at a site (`[d_in, d_out]` of a linear map, `[rows, d_model]` of a table), apart from
    /// any graph.
    fn matrix(&self, at: &Site) -> Option<Tensor<2>> {
        let mut find = Find { path: at.path(), at: Vec::new(), found: None };
        self.visit(&mut find);
        find.found
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
