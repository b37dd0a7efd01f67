//! The weights of a Hugging Face model folder, whatever format they are in.
//!
//! A folder holds safetensors or PyTorch's older format, in one file or in shards with an index. What loads or
//! lists weights should not care, so [`Checkpoint`] makes one table of names of them all. Opening reads headers
//! only; a tensor's values are read when asked for and not kept, so that loading a model needs the memory of the
//! model and of one tensor. Nothing is mapped into memory: a file cut short while in use is an error, not a fault.
//!
//! PyTorch's format is a pickle, a program for an interpreter. None is run here: the reader knows the few
//! instructions that build dictionaries and tensors and refuses every other, so such a file can carry no code.

mod find;
mod json;
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use burn_store::bridge;
use burn_store::burn_pack::Tensor;
use peft_core::tensors::Tensors;

use crate::error::{Error, Result};

pub use json::read_json;

/// Reads all tensors of one file, which is safetensors if its name says so and PyTorch's older format otherwise.
///
/// # Errors
/// [`Error::File`] naming the file if it is missing, truncated or damaged, [`Error::Tensor`] if values cannot be read.
pub fn read_tensors(path: &Path) -> Result<Tensors> {
    let format = match path.extension().is_some_and(|extension| extension == "safetensors") {
        true => find::Format::Safetensors,
        false => find::Format::PyTorch,
    };
    let values = |tensor: Tensor| match bridge::to_data(&tensor) {
        Ok(data) => Ok((tensor.name.clone(), data)),
        Err(error) => Err(Error::Tensor { path: path.into(), name: tensor.name.clone(), reason: error.to_string() }),
    };
    tensors::of_file(path, format)?.into_iter().map(values).collect()
}

/// The tensors of a model folder by name, their values still on disk.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, Stored>,
}

#[derive(Debug)]
struct Stored {
    /// Index into `files`.
    file: usize,
    tensor: Tensor,
}

impl Checkpoint {
    /// Opens the weights in `folder`: `model.safetensors`, else the shards of `model.safetensors.index.json`, else
    /// `pytorch_model.bin`, else the shards of `pytorch_model.bin.index.json`.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if there is none of these, [`Error::MissingShard`] if an index names a file that is
    /// not there, and [`Error::File`] or [`Error::Json`] naming the file that is truncated or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let found = find::weights(folder)?;
        let mut tensors = BTreeMap::new();
        for (file, path) in found.files.iter().enumerate() {
            for tensor in tensors::of_file(path, found.format)? {
                if found.belongs(&tensor.name, path) {
                    tensors.insert(tensor.name.clone(), Stored { file, tensor });
                }
            }
        }
        found.check(|name| tensors.contains_key(name))?;
        if tensors.is_empty() {
            return Err(Error::file(found.path, "holds no tensors; fetch the weights again"));
        }
        Ok(Self { path: found.path, files: found.files, tensors })
    }

    /// The file of weights, or the index if they are in shards: what a message about the whole should name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The names of the tensors, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor called `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// The shape of a tensor as stored: a linear weight is `[d_out, d_in]`.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|stored| stored.tensor.shape.as_slice())
    }

    /// The type of a tensor as stored.
    pub fn dtype(&self, key: &str) -> Option<DType> {
        self.tensors.get(key).map(|stored| stored.tensor.dtype)
    }

    /// How many values there are of each type, the most frequent first. Reads none of them.
    pub fn parameters(&self) -> Vec<(DType, usize)> {
        let mut counts: Vec<(DType, usize)> = Vec::new();
        for Stored { tensor, .. } in self.tensors.values() {
            let values = tensor.shape.num_elements();
            match counts.iter_mut().find(|(dtype, _)| *dtype == tensor.dtype) {
                Some((_, count)) => *count += values,
                None => counts.push((tensor.dtype, values)),
            }
        }
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts
    }

    /// Reads a tensor as stored: its own type, its own layout.
    ///
    /// # Errors
    /// [`Error::NoTensor`] if there is none called `key`, [`Error::Tensor`] if its values cannot be read.
    pub fn read(&self, key: &str) -> Result<TensorData> {
        let Some(Stored { file, tensor }) = self.tensors.get(key) else {
            return Err(Error::NoTensor { path: self.path.clone(), name: key.into() });
        };
        let damaged = |reason: String| Error::Tensor { path: self.files[*file].clone(), name: key.into(), reason };
        bridge::to_data(tensor).map_err(|error| damaged(error.to_string()))
    }
}

#[cfg(test)]
mod tests;
