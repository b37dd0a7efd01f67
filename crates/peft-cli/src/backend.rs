//! From the name of a device to the device, among the backends this program was built with.

use anyhow::{Result, bail};
use burn::prelude::Device;
// Named for its feature, which has it generate CUDA C++.
#[cfg(feature = "cuda-nvrtc")]
use cubecl_cuda as _;

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

/// What `--backend` and `--device` name together, as `--device` calls it.
///
/// # Errors
/// If they are of two backends.
pub(crate) fn chosen(backend: Option<&str>, device: Option<&str>) -> Result<Option<String>> {
    let Some(backend) = backend else { return Ok(device.map(str::to_string)) };
    let Some(device) = device else { return named("--backend", backend).map(|_| Some(backend.to_string())) };
    match device.split(':').next().unwrap_or_default() {
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(format!("{backend}:{number}"))),
        other if other == backend => Ok(Some(device.to_string())),
        other => bail!("--device {device}: {other} is not the backend that --backend {backend} names; leave one out"),
    }
}

/// What `device` calls itself.
pub(crate) fn title(device: &Device) -> String {
    if is_cpu(device) {
        return "CPU".to_string();
    }
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    "unnamed".to_string()
}

/// Whether `device` is the processor, by whichever backend.
pub(crate) fn is_cpu(device: &Device) -> bool {
    let cpus = [
        #[cfg(feature = "flex")]
        Device::flex(),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // As below.
        Device::ndarray(),
    ];
    cpus.contains(&device.clone().inner())
}

/// The device that `--device` calls `name`, or the first of the fastest backend.
///
/// # Errors
/// A backend that does not exist or was not built in, and a device that is not there.
pub(crate) fn device(name: Option<&str>) -> Result<Device> {
    let Some(first) = BUILT.first() else {
        bail!("this program was built without a backend; build it with --features flex, cuda, wgpu or ndarray");
    };
    named("--device", name.unwrap_or(first))
}

/// The device of that number among those of a kind that are there; without a number the one the backend prefers.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn there(
    called: &str,
    index: Option<usize>,
    kind: burn::tensor::DeviceType,
    preferred: impl FnOnce() -> Device,
) -> Result<Device> {
    // A driver that is missing makes the search for devices panic.
    let devices = std::panic::catch_unwind(|| Device::enumerate(kind).into_vec()).unwrap_or_default();
    let names =
        || -> Vec<String> { devices.iter().enumerate().map(|(i, device)| format!("{i}, {}", title(device))).collect() };
    match index {
        _ if devices.is_empty() => bail!("{called}: no such device was found; is its driver installed?"),
        None => Ok(preferred()),
        Some(index) => match devices.get(index) {
            Some(device) => Ok(device.clone()),
            None => bail!("{called}: no device of that number; there are {}", names().join("; ")),
        },
    }
}

/// Has what wgpu reports of a device end the program with one line. Burn panics on a thread of its own there, and who
/// waits for what that thread was to compute waits for ever.
#[cfg(feature = "wgpu")]
pub(crate) fn end_with_the_device(code: u8) {
    let panics = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload_as_str().and_then(reported) {
        Some(line) => {
            eprintln!("{line}");
            std::process::exit(code.into());
        }
        None => panics(panic),
    }));
}

/// The line for what a thread of Burn's panics with, if it is wgpu's.
#[cfg(feature = "wgpu")]
fn reported(panic: &str) -> Option<String> {
    let error = panic.strip_prefix("wgpu error: ")?.replace('\n', " ");
    let advice = match error.contains("Out of Memory") {
        true => {
            "; make batches smaller, or set CUBECL_AUTOTUNE_LEVEL=full: the tuning of kernels takes up to 2 GiB otherwise"
        }
        false => "",
    };
    Some(format!("error: the device failed: {}{advice}", error.trim()))
}

/// The device that `option` calls `name`.
///
/// # Errors
/// A backend that does not exist or was not built in.
pub(crate) fn named(option: &str, name: &str) -> Result<Device> {
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => match index.parse::<usize>() {
            Ok(index) => (backend, Some(index)),
            Err(_) => bail!("{option} {name}: `{index}` is no device number; write {backend}:0"),
        },
        None => (name, None),
    };
    let backend = if backend == "cpu" { CPU } else { backend };
    match backend {
        #[cfg(feature = "cuda")]
        "cuda" => there(&format!("{option} {name}"), index, burn::tensor::DeviceType::Cuda, || Device::cuda(0)),
        #[cfg(feature = "wgpu")]
        "wgpu" => {
            let preferred = || Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
            there(&format!("{option} {name}"), index, burn::tensor::DeviceType::Wgpu, preferred)
        }
        #[cfg(feature = "flex")]
        "flex" if index.is_none_or(|index| index == 0) => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // Kept as a feature for comparison; flex is the CPU backend.
        "ndarray" if index.is_none_or(|index| index == 0) => Ok(Device::ndarray()),
        "flex" | "ndarray" if BUILT.contains(&backend) => bail!("{option} {name}: there is one CPU; write {backend}"),
        other if ["cuda", "wgpu", "flex", "ndarray"].contains(&other) => bail!(
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

    #[rstest]
    #[case::neither(None, None, Ok(None))]
    #[case::a_device(None, Some("flex:0"), Ok(Some("flex:0")))]
    #[case::a_backend(Some("flex"), None, Ok(Some("flex")))]
    #[case::its_device(Some("flex"), Some("flex:0"), Ok(Some("flex:0")))]
    #[case::its_number(Some("flex"), Some("0"), Ok(Some("flex:0")))]
    #[case::another(Some("flex"), Some("cuda:0"), Err("cuda is not the backend that --backend flex names"))]
    #[case::none_such(Some("gpu"), None, Err("--backend gpu: no such backend; there are flex"))]
    #[case::not_built_in(Some("cuda"), None, Err("build it with `cargo xtask train --backend cuda`"))]
    fn a_backend_and_a_device_are_one_choice(
        #[case] backend: Option<&str>,
        #[case] device: Option<&str>,
        #[case] want: Result<Option<&str>, &str>,
    ) {
        match (chosen(backend, device), want) {
            (Ok(got), Ok(want)) => assert_eq!(got.as_deref(), want),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
            (got, want) => panic!("{got:?} where {want:?} is wanted"),
        }
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn what_a_device_reports_is_one_line_and_says_what_to_do() {
        let line = reported("wgpu error: Out of Memory\n").unwrap();
        assert!(line.starts_with("error: the device failed: Out of Memory; ") && !line.contains('\n'), "{line}");
        assert_eq!(reported("wgpu error: Device lost").unwrap(), "error: the device failed: Device lost");
        assert_eq!(reported("index out of bounds"), None);
    }

    #[cfg(any(feature = "cuda", feature = "wgpu", feature = "ndarray"))]
    #[test]
    fn a_seed_draws_the_same_on_every_backend() {
        use peft::core::draw;
        let drawn = |name: &&str| -> Vec<f32> {
            let device = named("--device", name).unwrap();
            draw::seed(&device, 3);
            let weights = draw::normal::<2>([4, 5], 0.02, &device);
            weights.into_data().iter::<f32>().collect()
        };
        let all = || BUILT.iter().map(drawn).collect::<Vec<_>>();
        // Generators are one for the process: a test that runs beside this one may draw in between.
        assert!(BUILT.len() > 1 && (0..50).any(|_| all().windows(2).all(|two| two[0] == two[1])), "{:?}", all());
    }

    #[test]
    fn there_is_a_device_by_default_and_one_that_is_the_host() {
        assert!(device(None).is_ok());
        assert_eq!(device(Some("cpu")).unwrap(), device(Some(CPU)).unwrap());
    }
}
