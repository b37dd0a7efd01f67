//! What changes the scores of the next token before it is chosen, in the reference's order.

use super::GenerationConfig;

/// The logarithm of the softmax of `scores`, in place; that of nothing is nothing. Sums are taken in f64.
pub(super) fn log_softmax(scores: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return;
    }
    let sum: f64 = scores.iter().map(|&score| f64::from((score - max).exp())).sum();
    let log = sum.ln() as f32;
    scores.iter_mut().for_each(|score| *score = *score - max - log);
}

/// Changes `scores` of the token that follows `text` (the first token included).
pub(super) fn process(config: &GenerationConfig, text: &[u32], scores: &mut [f32]) {
    repetition_penalty(config.repetition_penalty, text, scores);
    no_repeat_ngrams(config.no_repeat_ngram_size, text, scores);
    if text.len() - 1 < config.fewest() {
        ban(scores, config.eos_token_id.iter().copied());
    }
    if config.do_sample {
        // A beam search must find continuations that do not end.
        let least = if config.num_beams > 1 { config.eos_token_id.len() + 1 } else { 1 };
        temperature(config.temperature, scores);
        top_k(config.top_k, least, scores);
        top_p(config.top_p, least, scores);
    }
}

/// Of each token that is in the text (Keskar et al. 2019, arXiv:1909.05858), once however often it is.
fn repetition_penalty(penalty: f32, text: &[u32], scores: &mut [f32]) {
    if penalty == 1.0 {
        return;
    }
    let mut seen = text.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

/// Bans each token that would make the last tokens of the text a stretch of `size` that is in it already.
fn no_repeat_ngrams(size: usize, text: &[u32], scores: &mut [f32]) {
    if size == 0 || text.len() < size {
        return;
    }
    let last = &text[text.len() + 1 - size..];
    ban(scores, text.windows(size).filter(|window| window[..size - 1] == *last).map(|window| window[size - 1]));
}

fn ban(scores: &mut [f32], ids: impl Iterator<Item = u32>) {
    for id in ids {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn temperature(temperature: f32, scores: &mut [f32]) {
    if temperature != 1.0 {
        scores.iter_mut().for_each(|score| *score /= temperature);
    }
}

/// Bans all that are worse than the `k` best.
fn top_k(k: usize, least: usize, scores: &mut [f32]) {
    if k == 0 || k.max(least) >= scores.len() {
        return;
    }
    let k = k.max(least);
    let mut sorted = scores.to_vec();
    let (_, worst, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let worst = *worst;
    scores.iter_mut().filter(|score| **score < worst).for_each(|score| *score = f32::NEG_INFINITY);
}

/// Bans the worst whose probability is at most 1 - `p` together (Holtzman et al. 2020, arXiv:1904.09751).
fn top_p(p: f32, least: usize, scores: &mut [f32]) {
    if p >= 1.0 {
        return;
    }
    let mut worst_first: Vec<usize> = (0..scores.len()).collect();
    worst_first.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut log = scores.to_vec();
    log_softmax(&mut log);
    let mut sum = 0.0;
    let most = worst_first.len().saturating_sub(least);
    for &id in &worst_first[..most] {
        sum += f64::from(log[id].exp());
        if sum > 1.0 - f64::from(p) {
            break;
        }
        scores[id] = f32::NEG_INFINITY;
    }
}
