//! From the name of a device to the device, among the backends this program was built with.

use anyhow::{Result, bail};
use burn::prelude::Device;

/// The backends compiled in, the fastest first.
const BUILT: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "wgpu")]
    "wgpu",
    #[cfg(feature = "flex")]
    "flex",
    #[cfg(feature = "ndarray")]
    "ndarray",
];

/// The backend that `cpu` stands for.
const CPU: &str = if cfg!(feature = "flex") || !cfg!(feature = "ndarray") { "flex" } else { "ndarray" };

/// The device that `--device` calls `name`, or the first of the fastest backend.
///
/// # Errors
/// A backend that does not exist or was not built in.
pub(crate) fn device(name: Option<&str>) -> Result<Device> {
    let Some(first) = BUILT.first() else {
        bail!("this program was built without a backend; build it with --features flex, cuda, wgpu or ndarray");
    };
    named("--device", name.unwrap_or(first))
}

/// The device that `option` calls `name`.
///
/// # Errors
/// A backend that does not exist or was not built in.
pub(crate) fn named(option: &str, name: &str) -> Result<Device> {
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => match index.parse::<usize>() {
            Ok(index) => (backend, index),
            Err(_) => bail!("{option} {name}: `{index}` is no device number; write {backend}:0"),
        },
        None => (name, 0),
    };
    let backend = if backend == "cpu" { CPU } else { backend };
    match backend {
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(index)),
        #[cfg(feature = "wgpu")]
        "wgpu" if index == 0 => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DiscreteGpu(index))),
        #[cfg(feature = "flex")]
        "flex" if index == 0 => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // Kept as a feature for comparison; flex is the CPU backend.
        "ndarray" if index == 0 => Ok(Device::ndarray()),
        "flex" | "ndarray" if BUILT.contains(&backend) => bail!("{option} {name}: there is one CPU; write {backend}"),
        "cuda" | "wgpu" | "flex" | "ndarray" => bail!(
            "{option} {name}: this program was built with {}; build it with `cargo xtask train --backend {backend}`",
            BUILT.join(", ")
        ),
        _ => bail!("{option} {name}: no such backend; there are flex, ndarray, cuda and wgpu"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::no_backend("gpu", "flex, ndarray, cuda")]
    #[case::no_number("cuda:x", "cuda:0")]
    #[case::one_cpu("flex:1", "one CPU")]
    #[case::still_one_cpu("cpu:1", "--device cpu:1: there is one CPU")]
    fn a_wrong_device_names_the_right_ones(#[case] name: &str, #[case] says: &str) {
        let error = device(Some(name)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn there_is_a_device_by_default_and_one_that_is_the_host() {
        assert!(device(None).is_ok());
        assert_eq!(device(Some("cpu")).unwrap(), device(Some(CPU)).unwrap());
    }
}
