//! A question beside a stretch of its context, as often as it takes to see the whole of it. Stretches overlap, so that
//! an answer that one of them cuts is whole in the next.

use std::collections::HashMap;
use std::ops::Range;

use tokenizers::{Encoding, PostProcessor, Tokenizer, TruncationDirection};

use super::{Encoded, Encoder};
use crate::error::DataError;
use crate::questions::Question;

/// Questions tokenised at a time: enough for every core, few enough that the tokenizer's own records stay small.
const CHUNK: usize = 1024;

/// A question and a stretch of its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens of both.
    pub encoded: Encoded,
    /// The question, by its place among those encoded.
    pub question: usize,
    /// The positions at which tokens of the context stand.
    pub context: Range<usize>,
    /// Where each of those tokens stands in the context: its first character and the one behind its last, counted in
    /// Unicode characters.
    pub offsets: Vec<(usize, usize)>,
    /// The first and the last position of the answer. `(0, 0)`, the position of `[CLS]`, says that this window does not
    /// hold the whole of it or that there is none; `None` that nobody knows ([`crate::Questions::trainable`]).
    pub answer: Option<(usize, usize)>,
}

impl Encoder {
    /// Encodes questions, each in as many windows of the maximum length as its context needs. Only the context is cut;
    /// windows of one question overlap by `stride` of the context's tokens. The windows are in the questions' order.
    ///
    /// A question so long that it leaves no more than `stride` tokens of room is an error that names it, if its context
    /// does not fit beside it anyway.
    pub fn encode_windows(&self, questions: &[Question], stride: usize) -> Result<Vec<Window>, DataError> {
        // What is cut is cut here, so that a question too long is an error of ours and not the tokenizer's panic.
        let mut whole = self.tokenizer.clone();
        let Ok(_) = whole.with_truncation(None) else { return Err(blame(&whole, questions)) };
        let mut windows = Vec::new();
        for (chunk, questions) in questions.chunks(CHUNK).enumerate() {
            let mut places: HashMap<&str, usize> = HashMap::new();
            let mut contexts: Vec<&str> = Vec::new();
            let context_of: Vec<usize> = questions
                .iter()
                .map(|question| {
                    *places.entry(&question.context).or_insert_with(|| {
                        contexts.push(&question.context);
                        contexts.len() - 1
                    })
                })
                .collect();
            // Blanks before a question are tokens to some tokenizers; the reference strips them too.
            let texts: Vec<&str> = questions.iter().map(|question| question.text.trim_start()).collect();
            let encode = |texts| whole.encode_batch_char_offsets::<&str>(texts, false);
            let (Ok(texts), Ok(contexts)) = (encode(texts), encode(contexts)) else {
                return Err(blame(&whole, questions));
            };
            for (index, (question, text)) in questions.iter().zip(texts).enumerate() {
                let parts = self.cut(question, &text, &contexts[context_of[index]], stride)?;
                for part in parts {
                    let pair = whole.post_process(text.clone(), Some(part), true).map_err(|e| failed(question, &*e))?;
                    windows.push(window(chunk * CHUNK + index, question, &pair));
                }
            }
        }
        Ok(windows)
    }

    /// The stretches of a context that fit beside a question.
    fn cut(
        &self,
        question: &Question,
        text: &Encoding,
        context: &Encoding,
        stride: usize,
    ) -> Result<Vec<Encoding>, DataError> {
        let added = self.tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(true));
        let room = self.max_length.saturating_sub(added + text.len());
        let mut first = context.clone();
        if added + text.len() + context.len() > self.max_length {
            if room <= stride {
                let (id, tokens, max_length) = (question.id.clone(), text.len(), self.max_length);
                return Err(DataError::LongQuestion { id, tokens, max_length, room, stride });
            }
            first.truncate(room, stride, TruncationDirection::Right);
        }
        let rest = first.take_overflowing();
        Ok(std::iter::once(first).chain(rest).collect())
    }
}

fn window(index: usize, question: &Question, pair: &Encoding) -> Window {
    let sequences = pair.get_sequence_ids();
    let of_context = |sequence: &Option<usize>| *sequence == Some(1);
    let context = match (sequences.iter().position(of_context), sequences.iter().rposition(of_context)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..0,
    };
    let offsets = pair.get_offsets()[context.clone()].to_vec();
    let answer = match question.target() {
        _ if question.impossible => Some((0, 0)),
        Some(answer) => answer.start.map(|start| {
            let found = locate(&offsets, start, start + answer.text.chars().count());
            found.map_or((0, 0), |(first, last)| (context.start + first, context.start + last))
        }),
        None => None,
    };
    Window { encoded: Encoded::of(pair), question: index, context, offsets, answer }
}

/// The tokens that an answer's characters begin and end in, if it lies within the window. An answer that begins or ends
/// inside a token (`90` in `$90m`) gets the whole token, as in the reference.
fn locate(offsets: &[(usize, usize)], start: usize, end: usize) -> Option<(usize, usize)> {
    if offsets.first()?.0 > start || offsets.last()?.1 < end {
        return None;
    }
    let first = offsets.partition_point(|token| token.0 <= start) - 1;
    let last = offsets.partition_point(|token| token.1 < end);
    Some((first, last))
}

fn failed(question: &Question, error: &(dyn std::error::Error + Send + Sync)) -> DataError {
    DataError::EncodeQuestion { id: question.id.clone(), reason: error.to_string() }
}

/// The error of a failed run of questions; the tokenizer does not say which one it was, so they are tried in turn.
fn blame(tokenizer: &Tokenizer, questions: &[Question]) -> DataError {
    let try_one = |question: &Question| {
        [question.text.as_str(), &question.context]
            .into_iter()
            .find_map(|text| tokenizer.encode(text, false).err())
            .map(|error| failed(question, &*error))
    };
    questions.iter().find_map(try_one).unwrap_or_else(|| DataError::EncodeQuestion {
        id: questions.first().map(|question| question.id.clone()).unwrap_or_default(),
        reason: "of no question alone, but of several together".to_owned(),
    })
}
