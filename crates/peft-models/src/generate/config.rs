//! How texts are made.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::EarlyStopping;
use super::config_file::foreign;
use crate::error::{Error, Result};

/// New tokens where no limit is set, as in the reference.
const LIMIT: usize = 20;

/// How texts are made: Hugging Face's `GenerationConfig`, with its names and defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationConfig {
    /// How many tokens are made at most, the last one included; 20 if neither this nor `max_length` is set.
    pub max_new_tokens: Option<usize>,
    /// The same with the token that decoders start with; `max_new_tokens` goes before it.
    pub max_length: Option<usize>,
    /// How many tokens are made before a text may end.
    pub min_new_tokens: Option<usize>,
    /// The same with the token that decoders start with; `min_new_tokens` goes before it.
    pub min_length: Option<usize>,
    /// Beams of a search; 1: none.
    pub num_beams: usize,
    /// Texts to return: the best of the beams, or as many by chance.
    pub num_return_sequences: usize,
    /// A beam's score is the sum of its log-probabilities divided by its length to this power: more than 0 favours longer
    /// texts.
    pub length_penalty: f64,
    /// When a beam search is over.
    pub early_stopping: EarlyStopping,
    /// Whether tokens are drawn by their probability.
    pub do_sample: bool,
    /// Scores are divided by it before a token is drawn.
    pub temperature: f32,
    /// A token is drawn among so many of the best; 0: among all.
    pub top_k: usize,
    /// A token is drawn among the best that have this probability together; 1: among all.
    pub top_p: f32,
    /// What makes tokens that are in the text already less likely; 1: nothing.
    pub repetition_penalty: f32,
    /// No stretch of so many tokens is made twice; 0: any may be.
    pub no_repeat_ngram_size: usize,
    /// What chance begins with. With it, the place of a text in its batch decides what is drawn, not its neighbours.
    pub seed: u64,
    /// Whether keys and values are kept, so that a token costs one position.
    pub use_cache: bool,
    /// Tokens that end a text.
    #[serde(deserialize_with = "one_or_several")]
    pub eos_token_id: Vec<u32>,
    /// The padding token; the first that ends a text if absent.
    pub pad_token_id: Option<u32>,
    /// The token a decoder starts with; the padding token if absent.
    pub decoder_start_token_id: Option<u32>,
    /// Other fields of a file, as they were.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: None,
            max_length: None,
            min_new_tokens: None,
            min_length: None,
            num_beams: 1,
            num_return_sequences: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::Heuristic,
            do_sample: false,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            seed: 0,
            use_cache: true,
            eos_token_id: Vec::new(),
            pad_token_id: None,
            decoder_start_token_id: None,
            other: Map::new(),
        }
    }
}

fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(u32),
        Several(Vec<u32>),
    }
    Ok(match Ids::deserialize(from)? {
        Ids::One(id) => vec![id],
        Ids::Several(ids) => ids,
    })
}

impl GenerationConfig {
    /// New tokens at most.
    pub fn most(&self) -> usize {
        self.max_new_tokens.or(self.max_length.map(|length| length.saturating_sub(1))).unwrap_or(LIMIT)
    }

    /// New tokens before a text may end.
    pub fn fewest(&self) -> usize {
        self.min_new_tokens.or(self.min_length.map(|length| length.saturating_sub(1))).unwrap_or(0)
    }

    /// Refuses what contradicts itself, is out of range or is not supported. Settings of a way that is not taken, such as
    /// `top_k` without `do_sample`, have no effect, as in the reference.
    ///
    /// # Errors
    /// [`Error::Generation`] with the field and the fix.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &'static str, reason: String| Err(Error::generation(field, reason));
        let (most, fewest) = (self.most(), self.fewest());
        let set = |new: Option<usize>, [name, other]: [&'static str; 2]| if new.is_some() { name } else { other };
        if most == 0 {
            let field = set(self.max_new_tokens, ["max_new_tokens", "max_length"]);
            return refuse(field, "leaves no token to make; use 1 new token, a max_length of 2, or more".to_string());
        }
        if fewest > most {
            let field = set(self.min_new_tokens, ["min_new_tokens", "min_length"]);
            let reason = format!("asks for {fewest} new tokens of at most {most}; lower it, or raise max_new_tokens");
            return refuse(field, reason);
        }
        for (field, count) in [("num_beams", self.num_beams), ("num_return_sequences", self.num_return_sequences)] {
            if count == 0 {
                return refuse(field, "0 makes nothing; use 1 or more".to_string());
            }
        }
        let returned = self.num_return_sequences;
        if self.num_beams > 1 && returned > self.num_beams {
            let reason = format!("{returned} of {} beams; use as many beams, or return fewer", self.num_beams);
            return refuse("num_return_sequences", reason);
        }
        if self.num_beams == 1 && returned > 1 && !self.do_sample {
            let reason = format!("there is one best text, not {returned}; use num_beams or do_sample");
            return refuse("num_return_sequences", reason);
        }
        for (field, value) in [("temperature", self.temperature), ("repetition_penalty", self.repetition_penalty)] {
            if !(value > 0.0 && value.is_finite()) {
                let more = if field == "temperature" { "; for the best token use do_sample: false" } else { "" };
                return refuse(field, format!("{value} is not above 0{more}"));
            }
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return refuse("top_p", format!("{} is no probability; use one in [0, 1]", self.top_p));
        }
        if !self.length_penalty.is_finite() {
            return refuse("length_penalty", format!("{} is no number; use 1", self.length_penalty));
        }
        match foreign(&self.other) {
            Some((field, reason)) => Err(Error::generation(field, reason)),
            None => Ok(()),
        }
    }

    /// The token a decoder starts with and the one for padding, in a model with so many tokens.
    ///
    /// # Errors
    /// [`Error::Generation`] if one is not set, or is not among the model's.
    pub(super) fn special(&self, vocabulary: usize) -> Result<[u32; 2]> {
        let pad = self.pad_token_id.or(self.eos_token_id.first().copied());
        let start = self.decoder_start_token_id.or(pad);
        let check = |field: &'static str, id: Option<u32>| match id {
            Some(id) if (id as usize) < vocabulary => Ok(id),
            Some(id) => Err(Error::generation(field, format!("{id} is none of the model's {vocabulary} tokens"))),
            None => Err(Error::generation(field, "is not set; set it to the checkpoint's")),
        };
        let start = check("decoder_start_token_id", start)?;
        Ok([start, check("pad_token_id", Some(pad.unwrap_or(start)))?])
    }
}
