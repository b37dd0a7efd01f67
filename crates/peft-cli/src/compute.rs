//! Where a model is computed: on one device, on several with a bound on what each may hold (`--max-memory`), or as a replica
//! on each of several that train together (`--devices`).

use anyhow::{Result, anyhow, bail};
use burn::prelude::*;
use peft::models::placement::{assign, parse_bytes, units};
use peft::models::{AnyModel, DeviceMap, Head, ModelConfig};

use crate::backend;
use crate::terminal::note;

/// Where a model is computed.
pub(crate) enum Compute {
    /// All of it there.
    One(Device),
    /// Layer by layer on the first that has room, each with the bytes of the weights it may hold.
    Bounded(Vec<Bounded>),
    /// All of it on each, for training; on the first, whatever else there is to compute.
    Replicated(Vec<Device>),
}

/// A device and the bytes it may hold.
pub(crate) struct Bounded {
    name: String,
    device: Device,
    bytes: u64,
}

impl Compute {
    /// As `--device` or `max_memory` has it; by default on the first device of the fastest backend.
    ///
    /// # Errors
    /// Both at once; a part of `max_memory` that is no device with a size, or a device that is there already.
    pub(crate) fn new(device: Option<&str>, max_memory: Option<&str>) -> Result<Self> {
        match (device, max_memory) {
            (Some(_), Some(_)) => bail!("--device: max_memory names the devices; leave one of the two out"),
            (device, None) => backend::device(device).map(Self::One),
            (None, Some(given)) => {
                let mut bounded: Vec<Bounded> = Vec::new();
                for part in given.split(',').map(str::trim) {
                    let next = Bounded::parse(part)?;
                    if let Some(before) = bounded.iter().find(|before| before.device == next.device) {
                        let (first, second) = (&before.name, &next.name);
                        bail!("max_memory: `{second}` is the device of `{first}` before it; name it once");
                    }
                    bounded.push(next);
                }
                Ok(Self::Bounded(bounded))
            }
        }
    }

    /// As [`new`](Self::new), or as `devices` has it.
    ///
    /// # Errors
    /// As there, and `devices` that names fewer than two, or stands beside one of the others.
    pub(crate) fn for_training(device: Option<&str>, max_memory: Option<&str>, devices: Option<&str>) -> Result<Self> {
        let Some(given) = devices else { return Self::new(device, max_memory) };
        if device.is_some() {
            bail!("--device: devices names the devices already; leave one of the two out");
        }
        if max_memory.is_some() {
            bail!(
                "max_memory: lays one model over its devices, and devices a whole one on each; leave one of the two out"
            );
        }
        let names: Vec<&str> = given.split(',').map(str::trim).collect();
        if names.contains(&"") {
            bail!("devices: a name is missing in `{given}`; write cuda:0,cuda:1");
        }
        if let [name] = names[..] {
            backend::named("devices:", name)?;
            bail!("devices: `{name}` is one device; name two or more, as cuda:0,cuda:1, or write --device {name}");
        }
        Ok(Self::Replicated(names.into_iter().map(|name| backend::named("devices:", name)).collect::<Result<_>>()?))
    }

    /// The devices beside the first that train with it.
    pub(crate) fn replicas(&self) -> &[Device] {
        match self {
            Self::One(_) | Self::Bounded(_) => &[],
            Self::Replicated(devices) => devices.get(1..).unwrap_or_default(),
        }
    }

    /// Where the parts of a model go, told a line a device where there is a bound: decided from its configuration, before
    /// a weight is read.
    ///
    /// # Errors
    /// What has no room, and how much would do.
    pub(crate) fn devices(&self, config: &ModelConfig, head: Head, outputs: usize) -> Result<DeviceMap> {
        let bounded = match self {
            Self::One(device) => return Ok(device.into()),
            Self::Replicated(devices) => return Ok((&devices[0]).into()),
            Self::Bounded(bounded) => bounded,
        };
        let model = AnyModel::new(config, head, outputs, &bounded[0].device)?;
        let budgets: Vec<(String, u64)> = bounded.iter().map(|of| (of.name.clone(), of.bytes)).collect();
        let shares = assign(units(&model), &budgets).map_err(|error| anyhow!("max_memory: {error}"))?;
        shares.iter().for_each(|share| note!("{share}"));
        let devices: Vec<Device> = bounded.iter().map(|of| of.device.clone()).collect();
        Ok(DeviceMap::new(&shares, &devices))
    }
}

impl Bounded {
    /// `cuda:0=6GiB`.
    fn parse(part: &str) -> Result<Self> {
        let Some((name, size)) = part.split_once('=').map(|(name, size)| (name.trim(), size.trim())) else {
            bail!("max_memory: `{part}` is no device with a size; write cuda:0=6GiB,cpu=30GiB");
        };
        let device = backend::named("max_memory:", name)?;
        let Some(bytes) = parse_bytes(size) else {
            bail!("max_memory: {name}: `{size}` is no size; write 6GiB, 500MB or a number of bytes");
        };
        Ok(Self { name: name.to_string(), device, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::no_size("flex", "`flex` is no device with a size; write cuda:0=6GiB")]
    #[case::nothing("", "`` is no device with a size")]
    #[case::an_end("flex=1GB,", "`` is no device with a size")]
    #[case::a_bad_size("flex=many", "max_memory: flex: `many` is no size; write 6GiB")]
    #[case::no_backend("gpu=1GB", "max_memory: gpu: no such backend; there are flex")]
    #[case::no_number("cuda:x=1GB", "max_memory: cuda:x: `x` is no device number")]
    #[case::twice("flex=1GB, cpu=2GB", "`cpu` is the device of `flex` before it")]
    fn a_wrong_part_is_named(#[case] given: &str, #[case] says: &str) {
        let error = Compute::new(None, Some(given)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[rstest]
    #[case::one(
        "flex",
        None,
        None,
        "devices: `flex` is one device; name two or more, as cuda:0,cuda:1, or write --device flex"
    )]
    #[case::an_unknown_one("flex,gpu", None, None, "devices: gpu: no such backend; there are flex")]
    #[case::unknown_alone("gpu", None, None, "devices: gpu: no such backend")]
    #[case::no_second_cpu("cpu,cpu:1", None, None, "devices: cpu:1: there is one CPU; write flex")]
    #[case::an_end("flex,", None, None, "devices: a name is missing in `flex,`; write cuda:0,cuda:1")]
    #[case::device_too("flex,flex", Some("flex"), None, "--device: devices names the devices already; leave one")]
    #[case::memory_too("flex,flex", None, Some("flex=1GB"), "max_memory: lays one model over its devices, and devices")]
    fn devices_that_cannot_train_together_are_told(
        #[case] given: &str,
        #[case] device: Option<&str>,
        #[case] memory: Option<&str>,
        #[case] says: &str,
    ) {
        let error = Compute::for_training(device, memory, Some(given)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn the_same_device_may_train_with_itself() {
        let several = Compute::for_training(None, None, Some("flex, cpu,flex")).unwrap();
        assert_eq!(several.replicas().len(), 2);
        assert!(Compute::for_training(None, None, None).unwrap().replicas().is_empty());
    }

    #[test]
    fn one_says_where() {
        let error = Compute::new(Some("flex"), Some("flex=1GB")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("leave one of the two out"), "{error}");
        assert!(matches!(Compute::new(None, None), Ok(Compute::One(_))));
        let Ok(Compute::Bounded(bounded)) = Compute::new(None, Some("cpu = 1.5 GiB")) else { panic!() };
        assert_eq!((bounded[0].name.as_str(), bounded[0].bytes), ("cpu", 1_610_612_736));
    }
}
