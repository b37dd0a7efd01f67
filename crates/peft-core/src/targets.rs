//! Which modules a method acts on: `target_modules` and the fields beside it, with the reference's meaning.
//!
//! The rules are those of Hugging Face PEFT 0.21 (`tuners_utils.check_target_module_exists`), applied to the
//! reference's module names. One thing differs on purpose: there a target that matches nothing is passed over in
//! silence, here it is an error that lists the nearest names.

use std::collections::BTreeSet;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::site::{SiteEntry, SiteKind, Sites};

/// The shorthand for every linear layer outside the task head.
pub const ALL_LINEAR: &str = "all-linear";

/// Module names: a list of names or dotted suffixes, or one regular expression on the full name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// Whole names or dotted suffixes (`query`, `attention.output.dense`).
    List(Vec<String>),
    /// A regular expression that must match the whole name, or [`ALL_LINEAR`].
    Pattern(String),
}

impl Targets {
    /// Whether this is a list of no names.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::List(names) if names.is_empty())
    }
}

/// One value or several, as configuration files allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// A single value.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// A choice of modules: the fields of a configuration that decide it.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// `target_modules`.
    pub targets: &'a Targets,
    /// `exclude_modules`: wins over the targets.
    pub exclude: Option<&'a Targets>,
    /// `modules_to_save`: nothing below these is adapted.
    pub modules_to_save: &'a [String],
    /// `layers_to_transform`: keep only modules of these layer indices.
    pub layers: Option<&'a OneOrMany<usize>>,
    /// `layers_pattern`: the name of the list whose index counts.
    pub layers_pattern: Option<&'a OneOrMany<String>>,
    /// Whether a name or an index that matches nothing is an error. Not so for an adapter that is about to be
    /// loaded: its tensors say what it holds, and the reference lets such names pass.
    pub strict: bool,
}

impl Selection<'_> {
    /// The chosen sites among those whose kind `accepts` allows, in the model's order.
    ///
    /// # Errors
    /// [`Error::NoMatch`] for a target or exclusion that names no such module, or a choice that is empty;
    /// [`Error::Regex`] for an expression that does not compile.
    pub fn choose<'s>(&self, sites: &'s Sites, accepts: fn(SiteKind) -> bool) -> Result<Vec<&'s SiteEntry>> {
        let candidates: Vec<&SiteEntry> = sites.iter().filter(|entry| accepts(entry.kind)).collect();
        let target = Matcher::new("target_modules", self.targets)?;
        if self.strict {
            target.check(&candidates)?;
        }
        let exclude = self.exclude.map(|e| Matcher::new("exclude_modules", e)).transpose()?;
        if let Some(exclude) = exclude.as_ref().filter(|_| self.strict) {
            exclude.check(&sites.iter().collect::<Vec<_>>())?;
        }
        let layers = self.layers.map(|wanted| Layers::new(wanted, self.layers_pattern)).transpose()?;
        if let Some(layers) = layers.as_ref().filter(|_| self.strict) {
            layers.check(candidates.iter().filter(|entry| target.matches(entry)).map(|entry| entry.site.name()))?;
        }
        let chosen: Vec<&SiteEntry> = candidates
            .iter()
            .copied()
            .filter(|entry| {
                let name = entry.site.name();
                !exclude.as_ref().is_some_and(|e| e.matches(entry))
                    && !self.modules_to_save.iter().any(|module| is_below(name, module))
                    && target.matches(entry)
                    && layers.as_ref().is_none_or(|l| l.contains(name))
            })
            .collect();
        if chosen.is_empty() {
            return Err(Error::config(
                if self.layers.is_some() { "layers_to_transform" } else { "exclude_modules" },
                "every targeted module is left out; check it together with target_modules, exclude_modules and modules_to_save",
            ));
        }
        Ok(chosen)
    }
}

/// Whether the module called `name` is `module` or lies below it (`pooler` holds `bert.pooler.dense`).
pub fn is_below(name: &str, module: &str) -> bool {
    let name: Vec<&str> = name.split('.').collect();
    let module: Vec<&str> = module.split('.').collect();
    name.windows(module.len()).any(|window| window == module)
}

/// Whether `target` is `name` or a dotted suffix of it.
pub fn is_suffix(name: &str, target: &str) -> bool {
    name.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The value of the first key of `pattern` that matches `name`, for `rank_pattern` and `alpha_pattern`.
///
/// # Errors
/// [`Error::Regex`] for a key that does not compile.
pub fn first_match<'a, V>(
    field: &'static str,
    pattern: impl IntoIterator<Item = (&'a String, V)>,
    name: &str,
) -> Result<Option<V>> {
    for (key, value) in pattern {
        let regex = compile(field, &format!(r"^(?:.*\.)?(?:{key})$"), key)?;
        if regex.is_match(name).unwrap_or(false) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Refuses a key of `rank_pattern` or `alpha_pattern` that matches none of `names`.
///
/// # Errors
/// [`Error::NoMatch`] with the nearest names; [`Error::Regex`].
pub fn check_pattern<'a>(
    field: &'static str,
    keys: impl IntoIterator<Item = &'a String>,
    names: &[&str],
) -> Result<()> {
    for key in keys {
        let matches = |name: &&str| first_match(field, [(key, ())], name).map(|found| found.is_some());
        let any = names.iter().map(matches).collect::<Result<Vec<_>>>()?.contains(&true);
        if !any {
            let hint = nearest(key, names.iter().copied());
            return Err(Error::NoMatch { field, target: key.clone(), hint });
        }
    }
    Ok(())
}

/// The names nearest to `wanted`, as a hint: "did you mean …".
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut short: Vec<String> = Vec::new();
    for name in names {
        let parts: Vec<&str> = name.split('.').collect();
        for len in 1..=parts.len().min(2) {
            let suffix = parts[parts.len() - len..].join(".");
            if !short.contains(&suffix) && suffix.parse::<usize>().is_err() {
                short.push(suffix);
            }
        }
    }
    short.sort_by_cached_key(|name| strsim::damerau_levenshtein(wanted, name));
    short.truncate(4);
    match short.is_empty() {
        true => "the model has none to choose from".to_string(),
        false => format!("the nearest names are {}", short.join(", ")),
    }
}

enum Matcher<'a> {
    AllLinear,
    List(&'static str, &'a [String]),
    Regex(&'static str, &'a str, Box<Regex>),
}

impl<'a> Matcher<'a> {
    fn new(field: &'static str, targets: &'a Targets) -> Result<Self> {
        Ok(match targets {
            Targets::Pattern(pattern) if pattern.eq_ignore_ascii_case(ALL_LINEAR) => Self::AllLinear,
            Targets::Pattern(pattern) => {
                Self::Regex(field, pattern, Box::new(compile(field, &format!("^(?:{pattern})$"), pattern)?))
            }
            Targets::List(names) => Self::List(field, names),
        })
    }

    fn matches(&self, entry: &SiteEntry) -> bool {
        let name = entry.site.name();
        match self {
            Self::AllLinear => matches!(entry.kind, SiteKind::Linear { .. }) && !entry.head,
            Self::List(_, targets) => targets.iter().any(|target| is_suffix(name, target)),
            Self::Regex(_, _, regex) => regex.is_match(name).unwrap_or(false),
        }
    }

    /// Every name in the list, or the expression, must match something.
    fn check(&self, entries: &[&SiteEntry]) -> Result<()> {
        let names = || entries.iter().map(|entry| entry.site.name());
        let lost =
            |field, target: &str| Error::NoMatch { field, target: target.to_string(), hint: nearest(target, names()) };
        match self {
            Self::AllLinear => Ok(()),
            Self::List(field, []) => Err(Error::config(*field, "the list is empty; name at least one module")),
            Self::List(field, targets) => match targets.iter().find(|t| !names().any(|n| is_suffix(n, t))) {
                Some(target) => Err(lost(*field, target)),
                None => Ok(()),
            },
            Self::Regex(field, pattern, regex) => match names().any(|n| regex.is_match(n).unwrap_or(false)) {
                true => Ok(()),
                false => Err(lost(*field, pattern)),
            },
        }
    }
}

struct Layers<'a> {
    wanted: &'a [usize],
    patterns: Vec<Regex>,
}

impl<'a> Layers<'a> {
    fn new(wanted: &'a OneOrMany<usize>, pattern: Option<&OneOrMany<String>>) -> Result<Self> {
        let named: Vec<&String> = pattern.iter().flat_map(|p| p.as_slice()).filter(|p| !p.is_empty()).collect();
        let patterns = if named.is_empty() {
            vec![compile("layers_pattern", r"^.*?\.[^.]*\.(?P<idx>\d+)\.", "")?]
        } else {
            let one = |p: &&String| compile("layers_pattern", &format!(r"^(?:|.*?\.){p}\.(?P<idx>\d+)\."), p);
            named.iter().map(one).collect::<Result<_>>()?
        };
        Ok(Self { wanted: wanted.as_slice(), patterns })
    }

    fn contains(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.index(name).is_some_and(|index| self.wanted.contains(&index))
    }

    /// The index of the layer that the module called `name` lies in.
    fn index(&self, name: &str) -> Option<usize> {
        self.patterns.iter().find_map(|pattern| {
            let captures = pattern.captures(name).ok()??;
            captures.name("idx")?.as_str().parse().ok()
        })
    }

    /// Every index must be that of a layer with a targeted module.
    fn check<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<()> {
        let there: BTreeSet<usize> = names.filter_map(|name| self.index(name)).collect();
        match self.wanted.iter().find(|index| !there.contains(index)) {
            None => Ok(()),
            Some(index) => Err(Error::NoMatch {
                field: "layers_to_transform",
                target: index.to_string(),
                hint: match (there.first(), there.last()) {
                    (Some(first), Some(last)) => format!("the targeted modules are in layers {first} to {last}"),
                    _ => "no targeted module is in a numbered layer; check layers_pattern".to_string(),
                },
            }),
        }
    }
}

fn compile(field: &'static str, full: &str, shown: &str) -> Result<Regex> {
    Regex::new(full).map_err(|error| Error::Regex {
        field,
        pattern: shown.to_string(),
        reason: error.to_string().lines().next_back().unwrap_or_default().trim().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;

    fn sites() -> Sites {
        let entry = |name: &str, head| SiteEntry {
            site: Site::new(name, name),
            kind: SiteKind::Linear { d_in: 4, d_out: 4, bias: true },
            head,
            wide: false,
            tied: None,
        };
        let mut all = Vec::new();
        for layer in 0..2 {
            for part in ["attention.self.query", "attention.self.value", "attention.output.dense", "output.dense"] {
                all.push(entry(&format!("bert.encoder.layer.{layer}.{part}"), false));
            }
        }
        all.push(entry("bert.pooler.dense", false));
        all.push(entry("classifier", true));
        all.into_iter().collect()
    }

    fn choose(targets: Targets, edit: impl for<'a> FnOnce(&mut Selection<'a>, &'a Extra)) -> Result<Vec<String>> {
        let extra = Extra {
            exclude: Targets::List(vec!["output.dense".into()]),
            layers: OneOrMany::One(0),
            pattern: OneOrMany::One("layer".into()),
        };
        let save = ["classifier".to_string()];
        let mut selection = Selection {
            targets: &targets,
            exclude: None,
            modules_to_save: &save,
            layers: None,
            layers_pattern: None,
            strict: true,
        };
        edit(&mut selection, &extra);
        let sites = sites();
        let chosen = selection.choose(&sites, |kind| matches!(kind, SiteKind::Linear { .. }))?;
        Ok(chosen.iter().map(|entry| entry.site.name().to_string()).collect())
    }

    struct Extra {
        exclude: Targets,
        layers: OneOrMany<usize>,
        pattern: OneOrMany<String>,
    }

    fn list(names: &[&str]) -> Targets {
        Targets::List(names.iter().map(|n| n.to_string()).collect())
    }

    #[test]
    fn a_suffix_matches_whole_segments_only() {
        assert_eq!(choose(list(&["query"]), |_, _| ()).unwrap().len(), 2);
        assert_eq!(choose(list(&["output.dense"]), |_, _| ()).unwrap().len(), 4);
        assert!(!is_suffix("a.xquery", "query"));
    }

    #[test]
    fn all_linear_leaves_the_head_out() {
        let chosen = choose(Targets::Pattern("All-Linear".into()), |_, _| ()).unwrap();
        assert_eq!(chosen.len(), 9);
        assert!(chosen.contains(&"bert.pooler.dense".to_string()));
    }

    #[test]
    fn an_expression_matches_the_whole_name_and_may_look_ahead() {
        let chosen = choose(Targets::Pattern(r"bert\.(?!encoder).*".into()), |_, _| ()).unwrap();
        assert_eq!(chosen, ["bert.pooler.dense"]);
        assert!(choose(Targets::Pattern("query".into()), |_, _| ()).is_err());
    }

    #[test]
    fn exclusion_and_layers_narrow_the_choice() {
        let chosen = choose(Targets::Pattern(ALL_LINEAR.into()), |s, extra| {
            s.exclude = Some(&extra.exclude);
            s.layers = Some(&extra.layers);
            s.layers_pattern = Some(&extra.pattern);
        });
        assert_eq!(
            chosen.unwrap(),
            ["bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.0.attention.self.value"]
        );
    }

    #[test]
    fn a_layer_that_is_not_there_is_refused_unless_it_is_about_to_be_loaded() {
        let layers = OneOrMany::Many(vec![0, 99]);
        let save = [];
        let targets = list(&["query", "q_proj"]);
        let mut selection = Selection {
            targets: &targets,
            exclude: None,
            modules_to_save: &save,
            layers: Some(&layers),
            layers_pattern: None,
            strict: false,
        };
        let accepts = |kind| matches!(kind, SiteKind::Linear { .. });
        let chosen = sites();
        assert_eq!(selection.choose(&chosen, accepts).unwrap().len(), 1);
        let targets = list(&["query"]);
        selection = Selection { targets: &targets, strict: true, ..selection };
        let error = selection.choose(&chosen, accepts).unwrap_err().to_string();
        assert!(error.contains("`99`") && error.contains("layers 0 to 1"), "{error}");
    }

    #[test]
    fn an_unmatched_target_lists_the_nearest_names() {
        let error = choose(list(&["query", "valeu"]), |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("`valeu` matches no module") && error.contains("value"), "{error}");
        let error = choose(Targets::Pattern("(".into()), |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("no regular expression"), "{error}");
    }

    #[test]
    fn the_first_matching_pattern_wins() {
        let pattern = [("query".to_string(), 2), (r"1\..*value".to_string(), 3), ("value".to_string(), 4)];
        let get = |name| first_match("rank_pattern", pattern.iter().map(|(k, v)| (k, *v)), name).unwrap();
        assert_eq!(get("layer.0.query"), Some(2));
        assert_eq!(get("layer.1.self.value"), Some(3));
        assert_eq!(get("layer.0.self.value"), Some(4));
        assert_eq!(get("layer.0.self.key"), None);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        let names = ["layer.0.query", "layer.0.value"];
        let check = |key: &str| check_pattern("rank_pattern", [&key.to_string()], &names);
        assert!(check("query").is_ok());
        assert!(check("qwery").unwrap_err().to_string().contains("query"));
        assert!(check("(").is_err());
    }

    #[test]
    fn modules_to_save_hold_what_is_below_them() {
        assert!(is_below("bert.pooler.dense", "pooler"));
        assert!(is_below("classifier", "classifier"));
        assert!(!is_below("bert.classifier_x", "classifier"));
    }
}
