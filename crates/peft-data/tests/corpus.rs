//! Plain text to noise, and tokenizers trained on it.

use std::fs;
use std::path::Path;

use peft_data::corpus::chunks;
use peft_data::{
    Corpus, Documents, Encoder, IGNORED, LastChunk, SpanCorruption, TokenMasking, TrainedTokenizer, UnigramOptions,
    WordPieceOptions,
};
use rstest::rstest;
use tempfile::TempDir;

const TEXT: &str = "The quick brown fox jumps over the lazy dog.\nIt did not jump over the lazier dogs.\n\n\
                    Foxes are quicker than dogs, and browner.\nA café served coffee to ⅻ foxes – no dogs!\n";

/// The same words in many sentences, and some characters that stand there once.
fn corpus() -> Corpus {
    let words: Vec<&str> = TEXT.split_whitespace().collect();
    let sentence = |n: usize| (0..8).map(|k| words[(n * 7 + k * (n % 5 + 1)) % words.len()]).collect::<Vec<_>>();
    let rare = ["ë ü zyx", "Ω ж", "ñ ø", "þ q", "' ?"].map(str::to_owned);
    Corpus::from_texts((0..300).map(|n| sentence(n).join(" ")).chain(rare))
}

fn bert() -> TrainedTokenizer {
    TrainedTokenizer::wordpiece(&corpus(), &WordPieceOptions { vocab_size: 100, ..Default::default() }).unwrap()
}

fn t5() -> TrainedTokenizer {
    TrainedTokenizer::unigram(&corpus(), &UnigramOptions { vocab_size: 160, sentinels: 40 }).unwrap()
}

fn saved(tokenizer: &TrainedTokenizer) -> (TempDir, Encoder) {
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    let encoder = Encoder::from_folder(folder.path(), 64).unwrap();
    (folder, encoder)
}

fn file(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(folder.join(name), bytes).unwrap();
}

#[rstest]
#[case(Documents::Lines, &[1, 2, 4, 5])]
#[case(Documents::Paragraphs, &[1, 4])]
#[case(Documents::Files, &[1])]
fn documents_of_a_file(#[case] documents: Documents, #[case] lines: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "a.txt", TEXT);
    let corpus = Corpus::read(folder.path().join("a.txt"), documents).unwrap();
    assert_eq!(corpus.documents.iter().map(|document| document.line).collect::<Vec<_>>(), lines);
    let all: Vec<&str> = corpus.documents.iter().flat_map(|document| document.text.split_whitespace()).collect();
    assert_eq!(all, TEXT.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn a_folder_is_read_by_name_and_mistakes_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let read = || Corpus::read(folder.path(), Documents::Lines).map_err(|error| error.to_string());
    assert!(read().unwrap_err().contains("holds no .txt file"));
    file(folder.path(), "b.txt", "three\n");
    file(folder.path(), "a.txt", "one\n\ntwo");
    file(folder.path(), "c.md", "none");
    let texts: Vec<String> = read().unwrap().documents.into_iter().map(|document| document.text).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    file(folder.path(), "c.txt", b"fine\nna\xefve\n");
    let error = read().unwrap_err();
    assert!(error.contains("c.txt`, line 2: invalid UTF-8"), "{error}");
    file(folder.path(), "c.txt", "\n");
    assert!(read().unwrap_err().contains("c.txt` is empty"));
}

#[test]
fn documents_become_one_stream() {
    let (_folder, encoder) = saved(&bert());
    let long = "dog ".repeat(100);
    let stream = encoder.encode_corpus(&Corpus::from_texts([long.as_str(), "fox"])).unwrap();
    let (dog, fox, sep) = (encoder.token_to_id("dog").unwrap(), encoder.token_to_id("fox").unwrap(), 3);
    assert_eq!(stream, [vec![dog; 100], vec![sep, fox, sep]].concat(), "nothing is cut at the maximum length");
    let (_folder, encoder) = saved(&t5());
    assert_eq!(encoder.encode_corpus(&Corpus::from_texts(["dog"])).unwrap().last(), Some(&1));
}

#[test]
fn streams_that_give_no_chunk() {
    assert!(chunks(&[1], 0, LastChunk::Kept).is_err());
    let error = chunks(&[1, 2], 3, LastChunk::Dropped).unwrap_err().to_string();
    assert!(error.contains("2 tokens give no chunk of 3"), "{error}");
}

#[test]
fn masks_follow_berts_rules() {
    let (_folder, encoder) = saved(&bert());
    let masking = TokenMasking::new(&encoder, TokenMasking::RATE).unwrap();
    let special = encoder.special_ids();
    assert_eq!(special, [0, 1, 2, 3, 4]);
    let stream = encoder.encode_corpus(&corpus()).unwrap();
    let (mut hidden, mut random, mut kept) = (0, 0, 0);
    for (number, chunk) in chunks(&stream, 40, LastChunk::Kept).unwrap().iter().enumerate() {
        let masked = masking.mask(chunk, 7, 2, number);
        assert_eq!(masked, masking.mask(chunk, 7, 2, number));
        let ids = &masked.encoded.ids;
        assert_eq!((ids.len(), ids[0], *ids.last().unwrap()), (chunk.len() + 2, 2, 3));
        let ordinary = chunk.iter().filter(|id| !special.contains(id)).count();
        let expected = ((ordinary as f64 * 0.15).round() as usize).max(1);
        assert_eq!(masked.targets.iter().filter(|&&target| target != IGNORED).count(), expected);
        for (at, &token) in chunk.iter().enumerate() {
            match masked.targets[at + 1] {
                IGNORED => assert_eq!(ids[at + 1], token),
                target => {
                    assert_eq!(target, i64::from(token));
                    assert!(!special.contains(&token));
                    match ids[at + 1] {
                        4 => hidden += 1,
                        id if id == token => kept += 1,
                        id => {
                            assert!(!special.contains(&id));
                            random += 1;
                        }
                    }
                }
            }
        }
    }
    // Eight, one and one in ten, four deviations wide.
    let all = f64::from(hidden + random + kept);
    let near = |count: i32, share: f64| {
        assert!(
            (f64::from(count) - all * share).abs() < 4.0 * (all * share * (1.0 - share)).sqrt(),
            "{count} of {all}"
        );
    };
    near(hidden, 0.8);
    near(random, 0.1);
    near(kept, 0.1);
}

#[test]
fn noise_depends_on_seed_epoch_and_chunk() {
    let (_folder, encoder) = saved(&bert());
    let masking = TokenMasking::new(&encoder, 0.3).unwrap();
    let chunk: Vec<u32> = (5..65).collect();
    let first = masking.mask(&chunk, 1, 0, 0);
    for other in [masking.mask(&chunk, 2, 0, 0), masking.mask(&chunk, 1, 1, 0), masking.mask(&chunk, 1, 0, 1)] {
        assert_ne!(first.targets, other.targets);
    }
    assert!(masking.mask(&[3, 3], 1, 0, 0).targets.iter().all(|&target| target == IGNORED), "nothing to hide");
}

// compute_input_and_target_lengths of transformers' run_t5_mlm_flax.py (v4.57)
#[rstest]
#[case(512, 0.15, 3.0, 568, 114)]
#[case(128, 0.15, 3.0, 141, 29)]
#[case(100, 0.15, 3.0, 110, 22)]
#[case(64, 0.5, 3.0, 94, 64)]
#[case(64, 0.3, 2.0, 74, 34)]
#[case(20, 0.15, 3.0, 21, 5)]
fn chunk_lengths_are_t5s(
    #[case] inputs: usize,
    #[case] density: f64,
    #[case] mean: f64,
    #[case] chunk: usize,
    #[case] targets: usize,
) {
    let (_folder, encoder) = saved(&t5());
    let spans = SpanCorruption::new(&encoder, density, mean).unwrap();
    assert_eq!(spans.chunk_length(inputs).unwrap(), (chunk, targets));
    assert!(spans.lengths(chunk).0 <= inputs);
}

#[rstest]
#[case(0.15, 3.0)]
#[case(0.5, 3.0)]
#[case(0.5, 1.0)]
#[case(0.01, 10.0)]
fn spans_put_back_restore_the_chunk(#[case] density: f64, #[case] mean: f64) {
    let (_folder, encoder) = saved(&t5());
    let corruption = SpanCorruption::new(&encoder, density, mean).unwrap();
    let sentinels = encoder.sentinel_ids();
    assert_eq!((sentinels.len(), sentinels[0]), (40, encoder.vocab_size() as u32 - 1));
    for length in 2..80 {
        let chunk: Vec<u32> = (0..length).map(|n| 3 + n % 50).collect();
        for number in 0..10 {
            let corrupted = corruption.corrupt(&chunk, 3, 0, number).unwrap();
            assert_eq!(corrupted, corruption.corrupt(&chunk, 3, 0, number).unwrap());
            let lengths = (corrupted.inputs.len(), corrupted.targets.len());
            assert_eq!(lengths, corruption.lengths(chunk.len()));
            let (inputs, targets) = (corrupted.inputs.split_last().unwrap(), corrupted.targets.split_last().unwrap());
            assert_eq!((*inputs.0, *targets.0), (1, 1), "both end");
            let spans: Vec<&[u32]> = targets.1.split(|id| sentinels.contains(id)).collect();
            assert!(spans[0].is_empty() && spans[1..].iter().all(|span| !span.is_empty()));
            let mut restored = Vec::new();
            let mut next = 0;
            for &id in inputs.1 {
                if sentinels.contains(&id) {
                    assert_eq!(id, sentinels[next], "sentinels count up");
                    next += 1;
                    restored.extend_from_slice(spans[next]);
                } else {
                    restored.push(id);
                }
            }
            assert_eq!((restored, next), (chunk.clone(), spans.len() - 1));
        }
    }
}

#[test]
fn noise_that_cannot_be_made() {
    let ((_bert, bert), (_t5, t5)) = (saved(&bert()), saved(&t5()));
    let told = |error: Option<peft_data::DataError>, words: &str| {
        let error = error.unwrap().to_string();
        assert!(error.contains(words), "{error}");
    };
    told(TokenMasking::new(&t5, 0.15).err(), "needs a tokenizer with [CLS], [SEP] and [MASK]");
    told(TokenMasking::new(&bert, 1.0).err(), "give one between 0 and 1");
    told(SpanCorruption::new(&bert, 0.15, 3.0).err(), "needs a tokenizer with </s> and <extra_id_0>");
    told(SpanCorruption::new(&t5, 0.6, 3.0).err(), "up to 0.5");
    told(SpanCorruption::new(&t5, 0.15, f64::NAN).err(), "at least 1");
    let spans = SpanCorruption::new(&t5, 0.15, 3.0).unwrap();
    told(spans.corrupt(&[5], 0, 0, 0).err(), "a chunk of one token");
    told(spans.corrupt(&[5; 1000], 0, 0, 0).err(), "has 50 spans and the tokenizer 40 sentinels");
    told(spans.chunk_length(1000).err(), "sentinels");
    told(spans.chunk_length(2).err(), "give at least 3");
}

#[test]
fn training_twice_gives_the_same_files() {
    assert_eq!(bert(), bert());
    let first = t5();
    for _ in 0..3 {
        assert_eq!(t5(), first);
    }
}

#[test]
fn a_trained_wordpiece_is_berts() {
    let trained = bert();
    let (folder, encoder) = saved(&trained);
    assert_eq!((encoder.vocab_size(), trained.vocab_size()), (100, 100));
    assert_eq!((encoder.pad_id(), encoder.cls_id(), encoder.sep_id()), (Some(0), Some(2), Some(3)));
    let ids = encoder.encode_targets(&["The CAFÉ fox"], 16).unwrap().remove(0);
    assert_eq!((ids[0], *ids.last().unwrap()), (2, 3));
    assert_eq!(encoder.decode(&ids).unwrap(), "the cafe fox");
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let from_vocabulary = Encoder::from_folder(folder.path(), 64).unwrap();
    assert_eq!(from_vocabulary.encode_targets(&["The CAFÉ fox"], 16).unwrap(), [ids]);
}

#[test]
fn a_trained_unigram_is_t5s() {
    let (_folder, encoder) = saved(&t5());
    assert_eq!((encoder.pad_id(), encoder.eos_id(), encoder.token_to_id("<unk>")), (Some(0), Some(1), Some(2)));
    let ids = encoder.encode_targets(&["The quick  ⅻ foxes"], 32).unwrap().remove(0);
    assert_eq!(ids.last(), Some(&1));
    assert_eq!(encoder.decode(&ids).unwrap(), "The quick xii foxes");
    assert_eq!(
        encoder.encode_targets(&["fox <extra_id_3>"], 32).unwrap()[0].iter().rev().nth(1),
        encoder.sentinel_ids().get(3)
    );
}

#[test]
fn a_target_that_is_cut_still_ends() {
    let (_folder, encoder) = saved(&t5());
    let whole = encoder.encode_targets(&["The quick brown fox", "dog"], 64).unwrap();
    let cut = encoder.encode_targets(&["The quick brown fox", "dog"], 3).unwrap();
    assert_eq!((&cut[0][..2], cut[0][2]), (&whole[0][..2], 1));
    assert_eq!(encoder.encode_targets(&["dog dog"], 2).unwrap()[0].len(), 2);
    assert!(encoder.encode_targets(&[""; 0], 2).unwrap().is_empty());
    let error = encoder.encode_targets(&["dog"], 1).unwrap_err().to_string();
    assert!(error.contains("beside 1 special tokens; give at least 2"), "{error}");
}

#[test]
fn decoded_texts_are_cleaned_where_the_configuration_says_so() {
    let (folder, encoder) = saved(&t5());
    let text = "jump , it 's a fox ! Is it ?";
    let decoded = |encoder: &Encoder| {
        let mut ids = encoder.encode_targets(&[text], 64).unwrap().remove(0);
        ids.extend([0, 0]);
        encoder.decode(&ids).unwrap()
    };
    assert_eq!(decoded(&encoder), text, "padding and </s> are left out");
    let config = fs::read_to_string(folder.path().join("tokenizer_config.json")).unwrap();
    let cleaning = config.replace("\"clean_up_tokenization_spaces\": false", "\"clean_up_tokenization_spaces\": true");
    file(folder.path(), "tokenizer_config.json", cleaning);
    // transformers 5.23: clean_up_tokenization
    assert_eq!(decoded(&Encoder::from_folder(folder.path(), 64).unwrap()), "jump, it's a fox! Is it?");
    assert_eq!(encoder.decode(&[]).unwrap(), "");
}

#[rstest]
#[case::wordpiece(TrainedTokenizer::wordpiece(&corpus(), &WordPieceOptions { vocab_size: 20, ..Default::default() }))]
#[case::unigram(TrainedTokenizer::unigram(&corpus(), &UnigramOptions { vocab_size: 60, sentinels: 40 }))]
#[case::no_words(TrainedTokenizer::wordpiece(&Corpus::from_texts([" "]), &WordPieceOptions::default()))]
fn tokenizers_that_cannot_be_trained(#[case] trained: Result<TrainedTokenizer, peft_data::DataError>) {
    let error = trained.unwrap_err().to_string();
    assert!(error.starts_with("no tokenizer can be trained: ") && error.contains("give"), "{error}");
}
