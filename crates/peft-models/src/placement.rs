//! A model over several devices: which part of it goes where, decided from its shapes before a weight is read.
//!
//! What stays together is a [`Unit`]: the embeddings, a layer, a head. Units fill the devices in the order given, as
//! Accelerate's `device_map="auto"` does it; a tied table is one parameter here, so it lies where its head does. What a run
//! needs beside the weights (activations, the adapter, its gradients and the optimizer's state) depends on the rows and is
//! not counted: leave room for it.

mod budget;
mod bytes;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;

pub use budget::{Share, Shortage, assign};
pub use bytes::{parse_bytes, show_bytes};

/// Bytes of a number of the base: weights are loaded in f32, whatever they are held in afterwards.
const BYTES: u64 = 4;

/// A part of a model that is on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The path of its module: `encoder.block.0`.
    pub name: String,
    /// Bytes of its parameters.
    pub bytes: u64,
}

/// The units of `model` in the order in which it runs. No parameter is initialised.
///
/// A unit is a layer, which is what a list in the model holds, or else the outermost module without a layer in it.
pub fn units<M: Module>(model: &M) -> Vec<Unit> {
    let mut sizes = Sizes::default();
    model.visit(&mut sizes);
    let layers: Vec<&str> = sizes.found.iter().filter_map(|(path, _)| layer(path)).collect();
    let holds_layers = |module: &str| layers.iter().any(|layer| is_within(layer, module));
    let mut units: Vec<Unit> = Vec::new();
    for (path, bytes) in &sizes.found {
        let outermost = || dots(path).map(|dot| &path[..dot]).find(|module| !holds_layers(module));
        let name = layer(path).or_else(outermost).unwrap_or(path);
        match units.iter_mut().find(|unit| unit.name == name) {
            Some(unit) => unit.bytes += bytes,
            None => units.push(Unit { name: name.to_string(), bytes: *bytes }),
        }
    }
    units
}

/// The layer that a parameter belongs to: its path up to the first number.
fn layer(path: &str) -> Option<&str> {
    let mut start = 0;
    dots(path).find_map(|dot| {
        let part = &path[start..dot];
        start = dot + 1;
        part.parse::<usize>().is_ok().then_some(&path[..dot])
    })
}

fn dots(path: &str) -> impl Iterator<Item = usize> {
    path.match_indices('.').map(|(dot, _)| dot)
}

/// Whether `path` is the module at `unit` or in it.
fn is_within(path: &str, unit: &str) -> bool {
    path.strip_prefix(unit).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[derive(Default)]
struct Sizes {
    path: Vec<String>,
    found: Vec<(String, u64)>,
}

impl ModuleVisitor for Sizes {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.join("."), param.lazy_shape().num_elements() as u64 * BYTES));
    }
}

/// Where the parts of a model are to be. Made from a `&Device`, all of it is there.
#[derive(Clone, Debug)]
pub struct DeviceMap {
    /// Where what is in no unit is.
    rest: Device,
    units: Vec<(String, Device)>,
}

impl DeviceMap {
    /// Each of `shares` on the device of the same place in `devices`.
    ///
    /// # Panics
    /// If there are not as many devices as shares, or none.
    pub fn new(shares: &[Share], devices: &[Device]) -> Self {
        assert_eq!(shares.len(), devices.len(), "a device for each share");
        let of = |(share, device): (&Share, &Device)| {
            share.units.iter().map(|unit| (unit.name.clone(), device.clone())).collect::<Vec<_>>()
        };
        Self { rest: devices[0].clone(), units: shares.iter().zip(devices).flat_map(of).collect() }
    }

    /// The same with gradients.
    pub fn autodiff(self) -> Self {
        let units = self.units.into_iter().map(|(unit, device)| (unit, device.autodiff())).collect();
        Self { rest: self.rest.autodiff(), units }
    }

    /// A device that it names: where a model may be built before it is [placed](Self::place).
    pub fn first(&self) -> &Device {
        &self.rest
    }

    /// The devices that a model is on, in its order.
    pub fn devices(&self) -> Vec<Device> {
        let mut devices: Vec<Device> = Vec::new();
        for (_, device) in &self.units {
            if !devices.contains(device) {
                devices.push(device.clone());
            }
        }
        if devices.is_empty() { vec![self.rest.clone()] } else { devices }
    }

    /// `model` with each parameter where it is to be. One that was never initialised costs no memory: it is made, or
    /// loaded, there.
    pub fn place<M: Module>(&self, model: M) -> M {
        if self.units.is_empty() {
            return model;
        }
        model.map(&mut Placer { map: self, path: Vec::new() })
    }

    fn of(&self, path: &str) -> &Device {
        self.units.iter().find(|(unit, _)| is_within(path, unit)).map_or(&self.rest, |(_, device)| device)
    }
}

impl From<&Device> for DeviceMap {
    fn from(device: &Device) -> Self {
        Self { rest: device.clone(), units: Vec::new() }
    }
}

struct Placer<'a> {
    map: &'a DeviceMap,
    path: Vec<String>,
}

impl ModuleMapper for Placer<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let device = self.map.of(&self.path.join("."));
        param.to_device(device)
    }
}

#[cfg(test)]
mod tests;
