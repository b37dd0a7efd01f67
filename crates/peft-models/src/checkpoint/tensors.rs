//! The tensors of one file, of either format, as one type that reads its values when asked.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::tensor::TensorData;
use burn_store::burn_pack::{Error as PackError, Tensor};
use burn_store::{ModuleStore, PytorchStore, bridge};
use peft_core::file::dtype_from;
use safetensors::tensor::{Metadata, TensorInfo};

use super::find::Format;
use crate::error::{Error, Result};

/// Reads the header of `path`.
pub(super) fn of_file(path: &Path, format: Format) -> Result<Vec<Tensor>> {
    let mut file = File::open(path).map_err(|error| Error::read(path, &error))?;
    if is_lfs_pointer(&mut file).map_err(|error| Error::read(path, &error))? {
        return Err(Error::file(path, "a Git LFS pointer, not the weights themselves; run `git lfs pull`"));
    }
    match format {
        Format::Safetensors => of_safetensors(path, file),
        Format::PyTorch => of_pytorch(path),
    }
}

/// What `git clone` leaves in place of a large file where LFS is not installed.
fn is_lfs_pointer(file: &mut File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(40).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start.starts_with(b"version https://git-lfs.github.com/"))
}

/// Reads with seeks rather than through burn-store, which maps the file: mapped pages count as the process's own,
/// so loading would seem to need the model's memory twice, and a file cut short under the map ends the process.
fn of_safetensors(path: &Path, mut file: File) -> Result<Vec<Tensor>> {
    let damaged = |reason: String| {
        Error::file(path, format!("no whole safetensors file ({reason}); it is cut short or damaged, fetch it again"))
    };
    let io = |error: io::Error| Error::read(path, &error);
    let size = file.metadata().map_err(io)?.len();
    if size < 8 {
        return Err(damaged(format!("{size} bytes")));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let data_at = u64::from_le_bytes(length).saturating_add(8);
    if data_at > size {
        return Err(damaged(format!("{size} bytes where its header alone ends at {data_at}")));
    }
    let mut header = Vec::new();
    (&mut file).take(data_at - 8).read_to_end(&mut header).map_err(io)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(format!("its header: {error}")))?;
    let expected = data_at.saturating_add(header.data_len() as u64);
    if size != expected {
        return Err(damaged(format!("{size} bytes where its header promises {expected}")));
    }
    let file = Arc::new(Mutex::new(file));
    header.tensors().into_iter().map(|(name, info)| lazy(path, &file, data_at, name, info)).collect()
}

fn lazy(path: &Path, file: &Arc<Mutex<File>>, data_at: u64, name: String, info: &TensorInfo) -> Result<Tensor> {
    let Some(dtype) = dtype_from(info.dtype) else {
        let reason = format!("tensor `{name}` has the type {:?}, which is not read; use F32, F16 or BF16", info.dtype);
        return Err(Error::file(path, reason));
    };
    let (start, end) = info.data_offsets;
    let (file, shape) = (file.clone(), info.shape.clone());
    let values = move || {
        let mut bytes = vec![0; end - start];
        let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(data_at + start as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| PackError::IoError(error.to_string()))?;
        TensorData::try_from_bytes_vec(bytes, shape.clone(), dtype)
            .map_err(|error| PackError::ValidationError(error.to_string()))
    };
    Ok(bridge::deferred(name, dtype, info.shape.clone().into(), None, values))
}

fn of_pytorch(path: &Path) -> Result<Vec<Tensor>> {
    // By default the store renumbers `heads.1`, `heads.4` to 0 and 1.
    let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
    let tensors = store.get_all_tensors().map_err(|error| {
        Error::file(path, format!("no whole PyTorch file ({error}); it is cut short or damaged, fetch it again"))
    })?;
    Ok(tensors.values().cloned().collect())
}
