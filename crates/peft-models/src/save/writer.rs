//! Safetensors files whose tensors are made one after another.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use burn::tensor::DType;
use peft_core::file::dtype_to;
use peft_core::store::{AtomicFile, write_atomic};
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::json;

use crate::error::{Error, Result};

/// The most bytes of tensors in a file: Hugging Face's 5 GB.
pub const SHARD: u64 = 5_000_000_000;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
}

impl Planned {
    /// A tensor of this name, type and shape.
    pub fn new(name: impl Into<String>, dtype: DType, shape: Vec<usize>) -> Self {
        Self { name: name.into(), dtype, shape }
    }

    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// Writes the weights of a model folder: `model.safetensors`, or shards and an index where they are larger than a limit.
///
/// The header is made of what is planned, byte for byte that of the `safetensors` library, and each tensor goes to its
/// place when it is given. The files appear when it is [finished](Self::finish).
#[derive(Debug)]
pub struct TensorWriter {
    folder: PathBuf,
    files: Vec<AtomicFile>,
    places: HashMap<String, Place>,
    total: usize,
}

#[derive(Debug)]
struct Place {
    planned: Planned,
    file: usize,
    offset: u64,
    written: bool,
}

impl TensorWriter {
    /// Begins the files for `planned` in `folder`, which is created if need be, of at most `limit` bytes of tensors each;
    /// a tensor that is larger is alone in its file.
    ///
    /// # Errors
    /// [`Error::Core`] naming a file that cannot be written.
    ///
    /// # Panics
    /// If two tensors have one name, or one is of a type that no file has.
    pub fn new(folder: &Path, mut planned: Vec<Planned>, limit: u64) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| Error::Core(peft_core::Error::io(folder, error)))?;
        planned.sort_by(|a, b| a.name.cmp(&b.name));
        let total = planned.iter().map(Planned::bytes).sum();
        let mut shards: Vec<(u64, Vec<Planned>)> = vec![(0, Vec::new())];
        for tensor in planned {
            let bytes = tensor.bytes() as u64;
            match shards.last_mut().filter(|(held, tensors)| tensors.is_empty() || held + bytes <= limit) {
                Some((held, tensors)) => {
                    *held += bytes;
                    tensors.push(tensor);
                }
                None => shards.push((bytes, vec![tensor])),
            }
        }
        let count = shards.len();
        let mut writer = Self { folder: folder.into(), files: Vec::new(), places: HashMap::new(), total };
        for (i, (_, tensors)) in shards.into_iter().enumerate() {
            let name = match count {
                1 => SINGLE.to_string(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
            };
            writer.begin(&folder.join(name), tensors)?;
        }
        Ok(writer)
    }

    /// Begins one file, in the library's order: the widest types first, so that each tensor is aligned, then by name.
    fn begin(&mut self, path: &Path, mut tensors: Vec<Planned>) -> Result<()> {
        tensors.sort_by(|a, b| dtype_to(b.dtype).cmp(&dtype_to(a.dtype)).then(a.name.cmp(&b.name)));
        let mut end = 0;
        let mut infos = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            let (start, dtype) = (end, dtype_to(tensor.dtype).expect("parameters are floats"));
            end += tensor.bytes();
            let info = TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
            infos.push((tensor.name.clone(), info));
        }
        let offsets: Vec<u64> = infos.iter().map(|(_, info)| info.data_offsets.0 as u64).collect();
        let format = HashMap::from([("format".to_string(), "pt".to_string())]);
        let header = Metadata::new(Some(format), infos).expect("offsets follow each other");
        let mut header = serde_json::to_vec(&header).expect("names and shapes serialise");
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = AtomicFile::create(path)?;
        file.write_at(0, &(header.len() as u64).to_le_bytes())?;
        file.write_at(8, &header)?;
        let data = 8 + header.len() as u64;
        for (planned, offset) in tensors.into_iter().zip(offsets) {
            let place = Place { file: self.files.len(), offset: data + offset, written: false, planned };
            let twice = self.places.insert(place.planned.name.clone(), place);
            assert!(twice.is_none(), "each tensor is planned once");
        }
        self.files.push(file);
        Ok(())
    }

    /// Writes a tensor that was planned.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file that cannot be written.
    ///
    /// # Panics
    /// If it was not planned, or as another type or shape.
    pub fn write(&mut self, name: &str, data: &TensorData) -> Result<()> {
        let place = self.places.get_mut(name).expect("a tensor is planned before it is written");
        assert_eq!((data.dtype(), data.shape().to_vec()), (place.planned.dtype, place.planned.shape.clone()), "{name}");
        self.files[place.file].write_at(place.offset, data.as_bytes())?;
        place.written = true;
        Ok(())
    }

    /// Puts the files in their places, the index last, and gives those with weights in order. Weights that were in the
    /// folder in the other form are removed: they would be read instead.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file that cannot be written.
    ///
    /// # Panics
    /// If a planned tensor was not written.
    pub fn finish(self) -> Result<Vec<PathBuf>> {
        let missing: Vec<&str> =
            self.places.iter().filter(|(_, place)| !place.written).map(|(name, _)| &**name).collect();
        assert!(missing.is_empty(), "planned and not written: {missing:?}");
        let paths: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_path_buf()).collect();
        for file in self.files {
            file.commit()?;
        }
        let file_of = |place: &Place| paths[place.file].file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stale = match paths.len() {
            1 => INDEX,
            _ => {
                let map: BTreeMap<&str, String> =
                    self.places.iter().map(|(name, place)| (&**name, file_of(place))).collect();
                let index = json!({"metadata": {"total_size": self.total}, "weight_map": map});
                let index = serde_json::to_vec_pretty(&index).expect("names serialise");
                write_atomic(&self.folder.join(INDEX), &index)?;
                SINGLE
            }
        };
        match fs::remove_file(self.folder.join(stale)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Core(peft_core::Error::io(self.folder.join(stale), error)))
            }
            _ => Ok(paths),
        }
    }
}

#[cfg(test)]
mod tests {
    use peft_core::file::safetensors_bytes;

    use super::*;
    use crate::checkpoint::Checkpoint;

    fn tensors() -> Vec<(&'static str, TensorData)> {
        vec![
            ("b.weight", TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]])),
            ("a.weight", TensorData::from([0.5f32, -2.0, 8.0]).convert_dtype(DType::F16)),
            ("a.bias", TensorData::from([0.25f32])),
            ("c.weight", TensorData::from([[1.5f32, 2.5]]).convert_dtype(DType::BF16)),
        ]
    }

    fn planned() -> Vec<Planned> {
        tensors().iter().map(|(name, data)| Planned::new(*name, data.dtype(), data.shape().to_vec())).collect()
    }

    fn fill(mut writer: TensorWriter) -> Vec<PathBuf> {
        tensors().iter().rev().for_each(|(name, data)| writer.write(name, data).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_the_library_in_whatever_order_tensors_come() {
        let dir = tempfile::tempdir().unwrap();
        let files = fill(TensorWriter::new(dir.path(), planned(), SHARD).unwrap());
        assert_eq!(files, [dir.path().join(SINGLE)]);
        let mut tensors = tensors();
        tensors.sort_by_key(|(name, _)| *name);
        let want = safetensors_bytes(tensors.iter().map(|(name, data)| (*name, data)));
        assert_eq!(fs::read(&files[0]).unwrap(), want);
    }

    #[test]
    fn what_is_larger_than_the_limit_is_in_shards_and_replaces_a_single_file() {
        let dir = tempfile::tempdir().unwrap();
        fill(TensorWriter::new(dir.path(), planned(), SHARD).unwrap());
        // 4 and 6 bytes are one file, 24 another although they are more, and 4 a third.
        let files = fill(TensorWriter::new(dir.path(), planned(), 12).unwrap());
        assert_eq!(files.len(), 3);
        assert!(files[0].ends_with("model-00001-of-00003.safetensors"), "{files:?}");
        let index: serde_json::Value = serde_json::from_slice(&fs::read(dir.path().join(INDEX)).unwrap()).unwrap();
        assert_eq!(index["metadata"]["total_size"], 38);
        assert_eq!(index["weight_map"]["b.weight"], "model-00002-of-00003.safetensors");
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.files().len(), 3);
        for (name, data) in tensors() {
            assert_eq!(checkpoint.read(name).unwrap(), data, "{name}");
        }
        fill(TensorWriter::new(dir.path(), planned(), SHARD).unwrap());
        assert_eq!(Checkpoint::open(dir.path()).unwrap().files(), [dir.path().join(SINGLE)]);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SINGLE), b"old").unwrap();
        let mut writer = TensorWriter::new(dir.path(), planned(), 12).unwrap();
        writer.write("a.bias", &TensorData::from([0.25f32])).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read(dir.path().join(SINGLE)).unwrap(), b"old");
    }
}
