//! Adapter folders and adapters.

use std::path::Path;

use peft_core::file::AdapterFile;
use peft_core::tensors::{export, import};
use peft_core::{Adapter, Backbone, Error, Result};

use crate::{AnyConfig, AnyMethod, KINDS, Unsupported};

/// Reads the adapter in `folder` and what it is configured to be.
///
/// # Errors
/// [`Error::File`] for a missing or damaged file; [`Error::Config`] for a method or value that this build does
/// not compute.
pub fn read_adapter(folder: &Path) -> Result<(AnyConfig, AdapterFile)> {
    let file = AdapterFile::read(folder)?;
    let config = AnyConfig::from_json(file.config.clone()).map_err(|unsupported| match unsupported {
        Unsupported::Method(kind) => {
            let reason = format!("`{kind}` is not a method of this version; it has {}", KINDS.join(", "));
            Error::config("peft_type", reason)
        }
        Unsupported::Field(error) => error,
    })?;
    Ok((config, file))
}

/// Loads the adapter in `folder` for `backbone`.
///
/// # Errors
/// As [`read_adapter`]; [`Error::Misfit`] naming every tensor that is missing, unexpected or mis-shaped.
pub fn load_adapter<M: Backbone>(backbone: &M, folder: &Path) -> Result<(AnyConfig, Adapter<AnyMethod>)> {
    let (config, mut file) = read_adapter(folder)?;
    file.tensors.retain(|key, _| !is_stray(key));
    let adapter = import(config.init_for_loading(backbone, &file.tensors)?, file.tensors)?;
    Ok((config, adapter))
}

/// Writes `adapter` into `folder` in the reference's layout.
///
/// # Errors
/// [`Error::File`] naming the file that could not be written.
pub fn save_adapter(adapter: &Adapter<AnyMethod>, config: &AnyConfig, folder: &Path) -> Result<()> {
    file_of(adapter, config).write(folder)
}

/// What a folder holds of `adapter`.
pub fn file_of(adapter: &Adapter<AnyMethod>, config: &AnyConfig) -> AdapterFile {
    // Ranks that the budget has taken away are not saved; the configuration says which are left.
    #[cfg(feature = "lora")]
    if let (AnyMethod::AdaLora(method), AnyConfig::AdaLora(config)) = (&adapter.method, config)
        && method.kept().values().flatten().any(|kept| !kept)
    {
        let (config, method) = method.resized(config);
        let adapter = Adapter { method, saved: adapter.saved.clone() };
        return AdapterFile { config: config.to_json(), tensors: export(&adapter) };
    }
    AdapterFile { config: config.to_json(), tensors: export(adapter) }
}

/// With `bias: all` the reference writes the biases of a saved module a second and third time, under the names of
/// its wrapper; the copy under the module's own name is the one it reads.
fn is_stray(key: &str) -> bool {
    key.contains(".original_module.") || key.contains(".modules_to_save.")
}
