//! Where states lie: in memory up to a bound, and beyond it in a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Result;

/// Numbers that are written once and read often.
///
/// The file has no name, or loses it as soon as it is open: it goes with the process, however that ends, and nobody can
/// meet what another run has left in it. What was written lately the system has in memory anyway, so that reads at a place
/// cost what a mapping would, and need no unsafe code.
#[derive(Debug)]
pub(super) struct Store {
    /// Bytes that may be held in memory.
    budget: u64,
    held: u64,
    /// Where the file is made.
    folder: PathBuf,
    file: Option<File>,
    written: u64,
}

/// Some of the numbers in a [`Store`].
#[derive(Debug)]
pub(super) enum Slot {
    Memory(Vec<f32>),
    File { at: u64, len: usize },
}

impl Slot {
    /// How many they are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(values) => values.len(),
            Self::File { len, .. } => *len,
        }
    }
}

const BYTES: usize = size_of::<f32>();

impl Store {
    /// An empty one. Its file, if it comes to need one, is made in `folder`.
    pub(super) fn new(budget: u64, folder: &Path) -> Self {
        Self { budget, held: 0, folder: folder.to_path_buf(), file: None, written: 0 }
    }

    /// Keeps `values`.
    ///
    /// # Errors
    /// A file that cannot be made or written.
    pub(super) fn put(&mut self, values: &[f32]) -> Result<Slot> {
        let bytes = (values.len() * BYTES) as u64;
        if self.held + bytes <= self.budget {
            self.held += bytes;
            return Ok(Slot::Memory(values.to_vec()));
        }
        let at = self.written;
        self.write(values).map_err(|error| peft_core::Error::io(&self.folder, error))?;
        Ok(Slot::File { at, len: values.len() })
    }

    fn write(&mut self, values: &[f32]) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.folder)?),
        };
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        file.seek(SeekFrom::Start(self.written))?;
        file.write_all(&bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Fills `into` with the first numbers of `slot`, which has as many.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn read(&mut self, slot: &Slot, into: &mut [f32]) -> Result<()> {
        match (slot, &mut self.file) {
            (Slot::Memory(values), _) => into.copy_from_slice(&values[..into.len()]),
            (Slot::File { at, .. }, Some(file)) => {
                read_at(file, *at, into).map_err(|error| peft_core::Error::io(&self.folder, error))?;
            }
            (Slot::File { .. }, None) => unreachable!("what is in the file was written to it"),
        }
        Ok(())
    }

    /// Bytes in memory and in the file.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [u64; 2] {
        [self.held, self.written]
    }
}

fn read_at(file: &mut File, at: u64, into: &mut [f32]) -> std::io::Result<()> {
    let mut bytes = vec![0; into.len() * BYTES];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    for (value, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_ne_bytes(*bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_goes_to_a_file_that_nobody_sees() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::new(20, folder.path());
        let texts = [vec![1.5, f32::MIN_POSITIVE, -3.0], vec![4.0, 5.0, f32::NAN], vec![7.0], vec![8.0, 9.0]];
        let slots: Vec<Slot> = texts.iter().map(|values| store.put(values).unwrap()).collect();
        // The third finds room that the second was too long for.
        assert!(matches!(
            slots[..],
            [Slot::Memory(_), Slot::File { at: 0, .. }, Slot::Memory(_), Slot::File { at: 12, .. }]
        ));
        assert_eq!(store.sizes(), [16, 20]);
        for (slot, want) in slots.iter().zip(&texts).rev() {
            for len in [slot.len(), 1] {
                let mut got = vec![0.0; len];
                store.read(slot, &mut got).unwrap();
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&got), bits(&want[..len]));
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has a name");
    }

    #[test]
    fn a_folder_that_takes_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let error = Store::new(0, &gone).put(&[1.0]).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
        assert!(Store::new(4, &gone).put(&[1.0]).is_ok());
    }
}
