//! What the fixtures are computed on, and how exact that is.

use anyhow::Result;
use burn::prelude::Device;
use peft::core::Backbone;
use peft::core::precision::to_dtype;

use super::deviation::{Bounds, Report};
use crate::backend;
use crate::base::Precision;

/// Where, and with the frozen base in which type.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(super) device: Device,
    pub(super) precision: Precision,
    bounds: Bounds,
}

impl Setting {
    /// On a GPU, whose own functions are less exact and whose sums are taken in any order: 1e-4 for logits.
    const GPU: Bounds = Bounds { values: 10.0, gradients: 10.0, together: false };
    /// With the base in half precision they are what its rounding makes of these networks: logits within 1 % (f16, 11 bits)
    /// and 20 % (bf16, 8 bits) of 1 and the largest, all gradients together within 10 % and 50 %.
    const F16: Bounds = Bounds { values: 1e3, gradients: 1e3, together: true };
    const BF16: Bounds = Bounds { values: 2e4, gradients: 5e3, together: true };

    /// # Errors
    /// A type that the device does not compute with.
    pub(crate) fn new(device: Device, precision: Precision, exact: bool) -> Result<Self> {
        precision.check(&device)?;
        let bounds = match precision {
            Precision::F32 if exact => Bounds::EXACT,
            Precision::F32 => Self::GPU,
            Precision::F16 => Self::F16,
            Precision::Bf16 => Self::BF16,
        };
        Ok(Self { device, precision, bounds })
    }

    /// What the device calls itself.
    pub(super) fn title(&self) -> String {
        backend::title(&self.device)
    }

    /// The same without gradients.
    pub(super) fn inner(&self) -> Self {
        Self { device: self.device.clone().inner(), ..self.clone() }
    }

    /// An empty report with the bounds of this setting.
    pub(super) fn report(&self) -> Report {
        Report::new(self.bounds)
    }

    /// `base` in the type.
    pub(super) fn cast<M: Backbone>(&self, base: M) -> Result<M> {
        match self.precision {
            Precision::F32 => Ok(base),
            half => Ok(to_dtype(base, half.dtype())?),
        }
    }
}
