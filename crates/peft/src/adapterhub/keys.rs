//! Tensor names, both ways.

use burn::tensor::TensorData;
use peft_core::tensors::Tensors;
use peft_core::{Error, Result};
use peft_models::adapterhub::Roles;

/// What our names begin with: those of Hugging Face PEFT.
const OURS: &str = "base_model.model.";
/// What all layers share, on either side.
const SHARED: &str = "shared_parameters.";
/// The first normalisation, which the reference's files have twice: under its own name and in the list below.
const NORM_BEFORE: &str = "adapter_norm_before.";
const LISTED_NORM: &str = "adapter_down.0.";
/// What `adapter-transformers` 1 called its places.
const LEGACY: [(&str, &str); 4] = [
    ("attention_text_task_adapters", "adapters"),
    ("attention_text_lang_adapters", "adapters"),
    ("layer_text_task_adapters", "adapters"),
    ("layer_text_lang_adapters", "adapters"),
];

/// A kind of tensor by what stands before the adapter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `adapters`, and what they share.
    Bottleneck,
    /// `loras`: the two factors.
    Lora,
    /// `loras`: the second factor is a vector.
    Ia3,
    /// `adapter_fusion_layer`.
    Fusion,
}

impl Kind {
    fn marker(self) -> &'static str {
        match self {
            Self::Bottleneck => "adapters",
            Self::Lora | Self::Ia3 => "loras",
            Self::Fusion => "adapter_fusion_layer",
        }
    }

    /// Theirs and ours after the site.
    fn leaves(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Lora => &[("lora_A", "lora_A.weight"), ("lora_B", "lora_B.weight")],
            Self::Ia3 => &[("lora_B", "ia3_l")],
            Self::Bottleneck | Self::Fusion => &[],
        }
    }

    /// Our leaf for theirs.
    fn our_leaf(self, leaf: &str) -> Option<String> {
        match self {
            Self::Bottleneck | Self::Fusion => Some(format!("{}.{leaf}", self.marker())),
            _ => self.leaves().iter().find(|(theirs, _)| *theirs == leaf).map(|(_, ours)| ours.to_string()),
        }
    }

    /// Our name split into the site and their leaf.
    fn split(self, name: &str) -> Option<(&str, &str)> {
        match self {
            Self::Bottleneck | Self::Fusion => name.split_once(&format!(".{}.", self.marker())),
            _ => {
                self.leaves().iter().find_map(|(theirs, ours)| Some((name.strip_suffix(&format!(".{ours}"))?, *theirs)))
            }
        }
    }
}

/// The tensors of the adapter `name` under our names.
pub(super) fn to_ours(tensors: &Tensors, kind: Kind, name: &str, roles: &Roles) -> Result<Tensors> {
    let mut out = Tensors::new();
    for (key, data) in tensors {
        let key = LEGACY.iter().fold(key.clone(), |key, (old, new)| key.replace(old, new));
        let Some(ours) = our_key(&key, kind, name, roles) else {
            return Err(Error::Misfit(format!("`{key}` is no tensor of the adapter `{name}`")));
        };
        out.insert(ours, data.clone());
    }
    let twice = |key: &String| {
        let (site, leaf) = key.split_once(LISTED_NORM)?;
        out.contains_key(&format!("{site}{NORM_BEFORE}{leaf}")).then(|| key.clone())
    };
    for key in out.keys().filter_map(twice).collect::<Vec<_>>() {
        out.remove(&key);
    }
    Ok(out)
}

fn our_key(key: &str, kind: Kind, name: &str, roles: &Roles) -> Option<String> {
    // A file of a model without a head lacks the prefix.
    let inner = key.strip_prefix(roles.theirs).unwrap_or(key);
    if let Some(shared) = inner.strip_prefix(SHARED) {
        return Some(format!("{OURS}{SHARED}{}", shared.strip_prefix(name)?.strip_prefix('.')?));
    }
    let (site, leaf) = inner.split_once(&format!(".{}.{name}.", kind.marker()))?;
    Some(format!("{OURS}{}{site}.{}", roles.ours, kind.our_leaf(leaf)?))
}

/// Our tensors under the names of an adapter called `name`.
pub(super) fn from_ours(tensors: &Tensors, kind: Kind, name: &str, roles: &Roles) -> Result<Tensors> {
    let mut out = Tensors::new();
    for (key, data) in tensors {
        let Some(theirs) = their_key(key, kind, name, roles) else {
            return Err(Error::Misfit(format!("`{key}` has no place in AdapterHub's files")));
        };
        if let Some((site, leaf)) = theirs.split_once(NORM_BEFORE) {
            out.insert(format!("{site}{LISTED_NORM}{leaf}"), data.clone());
        }
        out.insert(theirs, data.clone());
    }
    Ok(out)
}

fn their_key(key: &str, kind: Kind, name: &str, roles: &Roles) -> Option<String> {
    let inner = key.strip_prefix(OURS)?;
    if let Some(shared) = inner.strip_prefix(SHARED) {
        return Some(format!("{}{SHARED}{name}.{shared}", roles.theirs));
    }
    let (site, leaf) = kind.split(inner.strip_prefix(roles.ours)?)?;
    Some(format!("{}{site}.{}.{name}.{leaf}", roles.theirs, kind.marker()))
}

/// The sites that tensors of `kind` stand at, by our names, each once and in order.
pub(super) fn sites(tensors: &Tensors, kind: Kind) -> Vec<&str> {
    let site = |key| -> Option<&str> { Some(kind.split(str::strip_prefix(key, OURS)?)?.0) };
    let mut sites: Vec<&str> = tensors.keys().filter_map(|key| site(key.as_str())).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

/// Our name of the parameter `leaf` of `module`.
pub(super) fn saved(module: &str, leaf: &str) -> String {
    format!("{OURS}{module}.{leaf}")
}

/// Takes the parameters of `module` out of `tensors`: weight and bias.
pub(super) fn take(tensors: &mut Tensors, module: &str) -> Option<[TensorData; 2]> {
    let [weight, bias] = ["weight", "bias"].map(|leaf| tensors.remove(&saved(module, leaf)));
    Some([weight?, bias?])
}
