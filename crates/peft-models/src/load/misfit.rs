//! How a checkpoint and a model differ, said in one line that can be read.

use std::fmt;
use std::path::PathBuf;

use burn::tensor::DType;

/// At most so many tensors of each kind are named; the rest are counted.
const SHOWN: usize = 8;
/// How like a missing name another must be to be suggested for it, from 0 to 1.
const LIKENESS: f64 = 0.6;

/// Every difference between a checkpoint and the model it was to fill.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Misfit {
    /// The file of weights, or its index.
    pub path: PathBuf,
    /// Parameters without a tensor.
    pub missing: Vec<Missing>,
    /// Tensors without a parameter, with their shapes.
    pub unexpected: Vec<(String, Vec<usize>)>,
    /// Tensors of another shape, or that hold no floats.
    pub reshaped: Vec<Reshaped>,
    /// Whether not a single name was found: the checkpoint is of some other architecture.
    pub stranger: bool,
}

/// A parameter that the checkpoint has no tensor for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its reference name.
    pub name: String,
    /// The shape it would have in the file.
    pub shape: Vec<usize>,
    /// The unexpected tensor of that shape whose name is most like it, if one is.
    pub nearest: Option<String>,
}

/// A tensor that cannot be the parameter of its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshaped {
    /// Its name in the file.
    pub name: String,
    /// Its shape there.
    pub found: Vec<usize>,
    /// Its type there.
    pub dtype: DType,
    /// The shape the model needs, in the file's layout.
    pub expected: Vec<usize>,
}

impl Misfit {
    pub(super) fn new(
        path: PathBuf,
        mut missing: Vec<Missing>,
        unexpected: Vec<(String, Vec<usize>)>,
        reshaped: Vec<Reshaped>,
        stranger: bool,
    ) -> Self {
        for missing in missing.iter_mut().take(SHOWN) {
            missing.nearest = unexpected
                .iter()
                .filter(|(_, shape)| *shape == missing.shape)
                .map(|(name, _)| (strsim::normalized_levenshtein(&missing.name, name), name))
                .filter(|(likeness, _)| *likeness > LIKENESS)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, name)| name.clone());
        }
        Self { path, missing, unexpected, reshaped, stranger }
    }
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: does not fit the model", self.path.display())?;
        list(f, self.missing.len(), "missing", &self.missing)?;
        let unexpected: Vec<_> = self.unexpected.iter().map(|(name, shape)| Unexpected(name, shape)).collect();
        list(f, self.unexpected.len(), "unexpected", &unexpected)?;
        list(f, self.reshaped.len(), "of another shape or type", &self.reshaped)?;
        f.write_str(match self.stranger {
            true => "; no name is the model's: check model_type in config.json",
            false => "; check that config.json and the weights belong together",
        })
    }
}

fn list(f: &mut fmt::Formatter<'_>, count: usize, what: &str, items: &[impl fmt::Display]) -> fmt::Result {
    for (i, item) in items.iter().take(SHOWN).enumerate() {
        match i {
            0 => write!(f, "; {count} {what}: {item}")?,
            _ => write!(f, ", {item}")?,
        }
    }
    if count > SHOWN { write!(f, " and {} more", count - SHOWN) } else { Ok(()) }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, " (is it `{nearest}`?)"),
            None => Ok(()),
        }
    }
}

struct Unexpected<'a>(&'a str, &'a [usize]);

impl fmt::Display for Unexpected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {:?}", self.0, self.1)
    }
}

impl fmt::Display for Reshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, dtype, expected } = self;
        match dtype.is_float() {
            true => write!(f, "`{name}` is {found:?} in the file and {expected:?} in the model"),
            false => write!(f, "`{name}` holds {} where the model has floats", dtype.name()),
        }
    }
}
