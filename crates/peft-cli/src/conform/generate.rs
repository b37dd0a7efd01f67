//! The texts that the reference makes under an adapter, token for token.

use std::path::Path;

use anyhow::{Context, Result};
use peft::core::file::read_config;
use peft::core::{Adapter, Hooks, Identity};
use peft::models::generate::{GenerationConfig, generate};
use peft::models::t5::T5ForConditionalGeneration;
use peft::{AnyConfig, AnyMethod, Unsupported, load_adapter};
use serde_json::{Map, Value};

use super::Verdict;
use super::fixture::{Fixture, Subject};
use super::setting::Setting;
use crate::base::Precision;

/// The file, of a case for each adapter, `base` for none: `greedy` and `beam4` with the tokens of each text, the one that
/// decoders start with among them.
pub(super) const FILE: &str = "generate.json";

/// The cases of a file.
pub(super) fn cases(file: &Path) -> Result<Vec<String>> {
    let cases: Map<String, Value> = peft::models::read_json(file)?;
    Ok(cases.into_iter().map(|(name, _)| name).collect())
}

/// The texts of one case, with keys and values kept and without.
pub(super) fn compare(model: &Path, case: &str, on: &Setting) -> Result<Verdict> {
    if on.precision != Precision::F32 {
        return Ok(Verdict::Skipped("in half precision another token may be the likeliest".to_string()));
    }
    let folder = model.join(case);
    if !folder.exists() {
        return Ok(Verdict::Skipped("the adapter is not among the fixtures".to_string()));
    }
    let on = on.inner();
    let base = T5ForConditionalGeneration::base(model, &on)?;
    let adapter = match adapter(&base, &folder, case)? {
        Ok(adapter) => adapter,
        Err(reason) => return Ok(Verdict::Skipped(reason)),
    };
    let hooks = adapter.as_ref().map_or(&Identity as &dyn Hooks, |adapter| adapter);
    let io = Fixture::read(&folder.join("io.safetensors"))?;
    let batch = T5ForConditionalGeneration::batch(&io, &on.device)?;
    let cases: Map<String, Value> = peft::models::read_json(&model.join(FILE))?;
    let mut report = on.report();
    for (how, want) in cases[case].as_object().context("a case is no object")? {
        let want: Vec<Vec<u32>> = serde_json::from_value(want.clone()).with_context(|| format!("{case}: {how}"))?;
        let config = GenerationConfig::from_folder(&model.join("base"))?;
        let longest = want.iter().map(Vec::len).max().unwrap_or(0);
        let num_beams = how.strip_prefix("beam").map_or(Ok(1), str::parse).with_context(|| how.clone())?;
        let config = GenerationConfig { max_length: Some(longest), num_beams, ..config };
        for use_cache in [true, false] {
            let source = base.encode(batch.input_ids.clone(), batch.attention_mask.clone(), batch.rows(), hooks);
            let config = GenerationConfig { use_cache, ..config.clone() };
            let made = generate(&base, source, hooks, &config)?;
            let what = if num_beams == 1 { "greedy" } else { "beams" };
            for (made, want) in made.iter().zip(&want) {
                let (got, want) = (&made.sequences[0].ids, ended(&want[1..], &config));
                match got == want {
                    true => report.exact(what),
                    false => report.fault(what, format!("{got:?} where the reference has {want:?} ({how})")),
                }
            }
            if made.len() != want.len() {
                report.fault(what, format!("{} texts where the reference has {}", made.len(), want.len()));
            }
        }
    }
    Ok(Verdict::Compared(report))
}

/// The adapter of a case, or why it is not compared.
fn adapter(
    base: &T5ForConditionalGeneration,
    folder: &Path,
    case: &str,
) -> Result<Result<Option<Adapter<AnyMethod>>, String>> {
    if case == "base" {
        return Ok(Ok(None));
    }
    match AnyConfig::from_json(read_config(folder)?) {
        Ok(_) => Ok(Ok(Some(load_adapter(base, folder)?.1))),
        Err(Unsupported::Method(kind)) => Ok(Err(format!("{kind} is not built yet"))),
        Err(Unsupported::Field(error)) => Ok(Err(format!("not built yet: {error}"))),
    }
}

/// Up to what ends it: the reference fills a text up behind that.
fn ended<'a>(ids: &'a [u32], config: &GenerationConfig) -> &'a [u32] {
    let end = ids.iter().position(|id| config.eos_token_id.contains(id));
    end.map_or(ids, |end| &ids[..=end])
}
