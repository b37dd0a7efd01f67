//! Entities out of tags, and how many of them were found. The rules are those of `seqeval`'s default mode, which the
//! published numbers on CoNLL-2003 and its like are in, so that a score here means what it means there.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::task::Labels;

/// The tag of a word outside every entity.
pub const OUTSIDE: &str = "O";

/// Words that name one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity<'a> {
    /// The type: `PER` of `B-PER`.
    pub kind: &'a str,
    /// The words, by their place in the sentence.
    pub words: Range<usize>,
}

/// The entities of one sentence, from its words' tags in IOB2, IOB1 or BIOES. What no scheme allows is read as
/// leniently as `seqeval` reads it: an `I-` that follows `O` or another type begins an entity.
///
/// ```
/// use peft_data::entities;
///
/// let found = entities(&["I-PER", "I-PER", "B-PER", "I-LOC", "O"]);
/// let spans: Vec<_> = found.iter().map(|entity| (entity.kind, entity.words.clone())).collect();
/// assert_eq!(spans, [("PER", 0..2), ("PER", 2..3), ("LOC", 3..4)]);
/// ```
pub fn entities<'a>(tags: &[&'a str]) -> Vec<Entity<'a>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut before = parts(OUTSIDE);
    for (word, tag) in tags.iter().copied().chain([OUTSIDE]).enumerate() {
        let here = parts(tag);
        if ends(before, here) {
            found.push(Entity { kind: before.1, words: start..word });
        }
        if begins(before, here) {
            start = word;
        }
        before = here;
    }
    found
}

/// Whether labels are those of entities, so that [`EntityMetrics`] means something: each is `O` or one of `B-`, `I-`,
/// `E-` and `S-` with a type. Parts of speech, for one, are not, and are counted by words alone.
pub fn names_entities(labels: &Labels) -> bool {
    let is_entity = |name: &str| {
        let rest = ["B-", "I-", "E-", "S-"].into_iter().find_map(|prefix| name.strip_prefix(prefix));
        rest.is_some_and(|kind| !kind.is_empty())
    };
    let mut names = labels.names().iter().map(String::as_str);
    names.clone().any(is_entity) && names.all(|name| name == OUTSIDE || is_entity(name))
}

/// A tag's prefix and type.
fn parts(tag: &str) -> (char, &str) {
    let mut rest = tag.chars();
    let prefix = rest.next().unwrap_or('O');
    let rest = rest.as_str();
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (prefix, if kind.is_empty() { "_" } else { kind })
}

/// Whether an entity ends before this tag.
fn ends(before: (char, &str), here: (char, &str)) -> bool {
    match (before.0, here.0) {
        ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
        ('O' | '.', _) => false,
        _ => before.1 != here.1,
    }
}

/// Whether an entity begins at this tag.
fn begins(before: (char, &str), here: (char, &str)) -> bool {
    match (before.0, here.0) {
        (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
        (_, 'O' | '.') => false,
        _ => before.1 != here.1,
    }
}

/// Counts of entities and words, added up sentence by sentence.
///
/// ```
/// use peft_data::EntityMetrics;
///
/// let mut metrics = EntityMetrics::default();
/// metrics.add(&["B-PER", "I-PER", "O", "B-LOC"], &["B-PER", "I-PER", "O", "B-ORG"]);
/// assert_eq!(metrics.overall().f1, 0.5);
/// assert_eq!(metrics.accuracy(), 0.75);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityMetrics {
    kinds: BTreeMap<String, Counts>,
    words: usize,
    right_words: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    gold: usize,
    predicted: usize,
    right: usize,
}

/// How well entities were found; the ratios are from 0 to 1, and 0 where there is nothing to divide by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EntityScore {
    /// The share of the predicted entities that are right.
    pub precision: f64,
    /// The share of the gold entities that were found.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// How many entities there are.
    pub gold: usize,
    /// How many were predicted.
    pub predicted: usize,
    /// How many were predicted with the very words and type.
    pub right: usize,
}

impl EntityMetrics {
    /// Adds one sentence's tags.
    ///
    /// # Panics
    ///
    /// If there are not as many predicted tags as gold ones.
    pub fn add(&mut self, gold: &[&str], predicted: &[&str]) {
        assert_eq!(gold.len(), predicted.len(), "one predicted tag a word");
        self.words += gold.len();
        self.right_words += gold.iter().zip(predicted).filter(|(gold, predicted)| gold == predicted).count();
        let (gold, predicted) = (entities(gold), entities(predicted));
        for entity in &gold {
            let counts = self.counts(entity.kind);
            counts.gold += 1;
            counts.right += usize::from(predicted.contains(entity));
        }
        for entity in &predicted {
            self.counts(entity.kind).predicted += 1;
        }
    }

    fn counts(&mut self, kind: &str) -> &mut Counts {
        self.kinds.entry(kind.to_owned()).or_default()
    }

    /// All types together (the micro average).
    pub fn overall(&self) -> EntityScore {
        let sum = |sum: Counts, counts: &Counts| Counts {
            gold: sum.gold + counts.gold,
            predicted: sum.predicted + counts.predicted,
            right: sum.right + counts.right,
        };
        self.kinds.values().fold(Counts::default(), sum).score()
    }

    /// Each type that occurs, gold or predicted, by name.
    pub fn by_type(&self) -> impl Iterator<Item = (&str, EntityScore)> {
        self.kinds.iter().map(|(kind, counts)| (kind.as_str(), counts.score()))
    }

    /// The share of words with the right tag, `O` included.
    pub fn accuracy(&self) -> f64 {
        ratio(self.right_words, self.words)
    }

    /// How many words were added.
    pub fn words(&self) -> usize {
        self.words
    }
}

impl Counts {
    fn score(self) -> EntityScore {
        let Self { gold, predicted, right } = self;
        EntityScore {
            precision: ratio(right, predicted),
            recall: ratio(right, gold),
            f1: ratio(2 * right, predicted + gold),
            gold,
            predicted,
            right,
        }
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
