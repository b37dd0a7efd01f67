//! What a method needs to know of a backbone.

use burn::module::{Module, ModuleDisplay};

use crate::site::Sites;

/// A frozen network that announces where it can be adapted.
///
/// It says nothing of its inputs and outputs: methods do not see them. A backbone's forward pass takes the
/// [`Hooks`](crate::Hooks) in force as an argument.
pub trait Backbone: Module + ModuleDisplay {
    /// Every place at which a method may act, in the model's order.
    fn sites(&self) -> &Sites;
}
