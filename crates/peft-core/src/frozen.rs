//! A backbone that takes no part in training.

use std::ops::Deref;

use burn::module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor};
use burn::prelude::Device;

/// A module whose parameters are not visited: not counted, not recorded, not given to an optimizer, not changed
/// by a mapper. It still moves with its owner between devices and between training and validation.
///
/// So whatever holds `Frozen<M>` beside an adapter is, to Burn, the adapter alone: its checkpoint is a few
/// hundred kilobytes, its optimizer state likewise. A clone shares the weights.
#[derive(Clone, Debug)]
pub struct Frozen<M>(M);

impl<M: Module> Frozen<M> {
    /// Freezes `module`: its parameters stop requiring gradients.
    pub fn new(module: M) -> Self {
        Self(module.no_grad())
    }

    /// The module, still without gradients.
    pub fn into_inner(self) -> M {
        self.0
    }
}

impl<M> Deref for Frozen<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M: Module> Module for Frozen<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn train(self) -> Self {
        Self(self.0.train().no_grad())
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<V: ModuleMapper>(self, _mapper: &mut V) -> Self {
        self
    }
}

impl<M: Module> ModuleDisplayDefault for Frozen<M> {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&"frozen").optional()
    }
}

impl<M: Module> ModuleDisplay for Frozen<M> {}
