//! Every format and every way a file can be damaged.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use peft_core::file::safetensors_bytes;
use tempfile::TempDir;

use super::*;

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn safetensors(tensors: &[(&str, TensorData)]) -> Vec<u8> {
    safetensors_bytes(tensors.iter().map(|(name, data)| (*name, data)))
}

fn weights() -> Vec<u8> {
    safetensors(&[
        ("a", TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]])),
        ("b", TensorData::from([0.5f32, -1.5]).convert_dtype(DType::F16)),
        ("c", TensorData::from([1.0f32, 2.0]).convert_dtype(DType::BF16)),
        ("d", TensorData::from([[0i64, 1, 2, 3]])),
    ])
}

fn message(folder: &TempDir) -> String {
    let message = Checkpoint::open(folder.path()).expect_err("not a checkpoint").to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn safetensors_come_as_stored() {
    let dir = folder(&[("model.safetensors", &weights()), ("pytorch_model.bin", b"never looked at")]);
    let file = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(file.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!((file.shape("a"), file.dtype("a")), (Some(&[2, 3][..]), Some(DType::F32)));
    assert_eq!(file.read("a").unwrap(), TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]));
    assert_eq!(file.read("b").unwrap().convert_dtype(DType::F32), TensorData::from([0.5f32, -1.5]));
    assert_eq!(file.read("c").unwrap().convert_dtype(DType::F32), TensorData::from([1.0f32, 2.0]));
    assert_eq!(file.read("d").unwrap(), TensorData::from([[0i64, 1, 2, 3]]));
    assert_eq!(file.parameters(), [(DType::F32, 6), (DType::I64, 4), (DType::F16, 2), (DType::BF16, 2)]);
    let error = file.read("e").unwrap_err().to_string();
    assert!(error.contains("model.safetensors: no tensor `e`"), "{error}");
}

#[test]
fn both_pytorch_formats_are_read() {
    for name in ["pytorch_model.bin", "legacy.bin"] {
        let dir = folder(&[("pytorch_model.bin", &data(name))]);
        let file = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(file.read("embeddings.weight").unwrap(), TensorData::from([[0.0f32, 1.0], [2.0, 3.0], [4.0, 5.0]]));
        assert_eq!(file.read("decoder.weight").unwrap(), file.read("embeddings.weight").unwrap());
        assert_eq!(file.read("heads.1.weight").unwrap(), TensorData::from([[0.0f32, 3.0], [1.0, 4.0], [2.0, 5.0]]));
        assert_eq!(file.read("heads.4.bias").unwrap().convert_dtype(DType::F32), TensorData::from([0.5f32, -1.5]));
        assert_eq!(file.read("norm.gamma").unwrap().convert_dtype(DType::F32), TensorData::from([1.0f32, 2.0]));
        assert_eq!(file.read("norm.beta").unwrap(), TensorData::from([-1.0f64, 0.25]));
        assert_eq!(file.read("position_ids").unwrap(), TensorData::from([[0i64, 1, 2, 3]]));
        assert_eq!(file.dtype("heads.4.bias"), Some(DType::F16));
    }
}

#[test]
fn shards_are_one_checkpoint_and_the_index_has_the_last_word() {
    let one = safetensors(&[("a", TensorData::from([1.0f32]))]);
    let two = safetensors(&[("a", TensorData::from([9.0f32])), ("b", TensorData::from([2.0f32]))]);
    let index = r#"{"metadata": {"total_size": 8}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;
    let name = "model.safetensors.index.json";
    let dir = folder(&[(name, index.as_bytes()), ("m-1.safetensors", &one), ("m-2.safetensors", &two)]);
    let file = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(file.files().len(), 2);
    assert!(file.path().ends_with(name));
    assert_eq!(file.read("a").unwrap(), TensorData::from([1.0f32]));
    assert_eq!(file.read("b").unwrap(), TensorData::from([2.0f32]));

    let missing = folder(&[(name, index.as_bytes()), ("m-1.safetensors", &one)]);
    assert!(message(&missing).contains("index.json: names the shard `m-2.safetensors`, which is not in the folder"));
    let swapped = folder(&[(name, index.as_bytes()), ("m-1.safetensors", &one), ("m-2.safetensors", &one)]);
    assert!(message(&swapped).contains("`b` is not in m-2.safetensors, where it should be"));
    let outside = folder(&[(name, br#"{"weight_map": {"a": "../m-1.safetensors"}}"#)]);
    assert!(message(&outside).contains("`../m-1.safetensors` is no file name"));
    assert!(message(&folder(&[(name, b"{\"weight_map\": {}}")])).contains("weight_map is empty"));
    assert!(message(&folder(&[(name, b"{}")])).contains("index.json, line 1, column 2: missing field `weight_map`"));
}

#[test]
fn pytorch_shards_are_read() {
    let index = br#"{"weight_map": {"embeddings.weight": "part.bin", "norm.gamma": "part.bin"}}"#;
    let dir = folder(&[("pytorch_model.bin.index.json", index), ("part.bin", &data("pytorch_model.bin"))]);
    assert!(Checkpoint::open(dir.path()).unwrap().contains("norm.gamma"));
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let text = message(&folder(&[("tf_model.h5", b"")]));
    assert!(text.contains("model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.ind"));
    assert!(text.contains("it holds tf_model.h5; give"), "{text}");
    assert!(message(&folder(&[])).contains("it is empty"));
    let none = Checkpoint::open(Path::new("no-such-folder")).err().unwrap().to_string();
    assert_eq!(none, "no-such-folder: no such file or folder; check the path");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 440449768\n";
    assert!(message(&folder(&[("model.safetensors", pointer)])).contains("run `git lfs pull`"));
}

#[test]
fn a_safetensors_file_cut_short_anywhere_is_an_error_that_names_it() {
    let whole = weights();
    for len in 0..whole.len() {
        let text = message(&folder(&[("model.safetensors", &whole[..len])]));
        assert!(text.contains("model.safetensors: no whole safetensors file"), "{len}: {text}");
    }
    let longer = [whole.clone(), vec![0]].concat();
    assert!(message(&folder(&[("model.safetensors", &longer)])).contains("where its header promises"));
    let mut huge = whole;
    huge[..8].fill(0xff);
    assert!(message(&folder(&[("model.safetensors", &huge)])).contains("header alone ends at"));
}

#[test]
fn a_safetensors_file_that_shrinks_while_open_is_an_error() {
    let dir = folder(&[("model.safetensors", &weights())]);
    let file = Checkpoint::open(dir.path()).unwrap();
    fs::write(dir.path().join("model.safetensors"), b"short").unwrap();
    let text = file.read("a").unwrap_err().to_string();
    assert!(text.contains("model.safetensors: tensor `a`: "), "{text}");
}

#[test]
fn a_file_without_tensors_is_an_error() {
    let text = message(&folder(&[("model.safetensors", &safetensors(&[]))]));
    assert!(text.ends_with("model.safetensors: holds no tensors; fetch the weights again"), "{text}");
}

#[test]
fn a_type_that_is_not_read_is_named() {
    let header = br#"{"q":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[0]].concat();
    let text = message(&folder(&[("model.safetensors", &bytes)]));
    assert!(text.contains("tensor `q` has the type F8_E4M3, which is not read"), "{text}");
}

/// Opens and reads everything: either it all works or there is an error that names the file.
fn read_all(dir: &TempDir) -> Result<()> {
    let file = Checkpoint::open(dir.path())?;
    file.keys().try_for_each(|key| file.read(key).map(drop))
}

#[test]
fn a_pytorch_file_cut_short_anywhere_is_an_error_that_names_it() {
    for name in ["pytorch_model.bin", "legacy.bin"] {
        let whole = data(name);
        for len in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            let text = read_all(&folder(&[("pytorch_model.bin", &whole[..len])])).unwrap_err().to_string();
            assert!(text.contains("pytorch_model.bin: ") && !text.contains('\n'), "{name} {len}: {text}");
        }
    }
}

#[test]
fn damage_never_panics() {
    for (name, whole) in [
        ("model.safetensors", weights()),
        ("pytorch_model.bin", data("pytorch_model.bin")),
        ("pytorch_model.bin", data("legacy.bin")),
    ] {
        let dir = folder(&[]);
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x15 << (at % 4);
            fs::write(dir.path().join(name), &bytes).unwrap();
            if let Err(error) = read_all(&dir) {
                assert!(error.to_string().contains(name), "{at}: {error}");
            }
        }
    }
}

#[test]
fn a_pickle_that_calls_something_is_not_run() {
    // pickle.dumps of an object whose __reduce__ is os.system("touch pwned").
    let text =
        message(&folder(&[("pytorch_model.bin", b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.")]));
    assert!(text.contains("pytorch_model.bin: "), "{text}");
    assert!(!Path::new("pwned").exists());
}
