//! One error for the whole crate. Every message is one line that says where the trouble is (file, line or
//! column) and what to do about it, because the reader is the person who owns the file, not us.

mod corpus;
mod names;
mod place;

use std::io;
use std::path::PathBuf;

use names::{did_you_mean, quoted};

pub use corpus::CorpusError;
pub(crate) use names::nearest;
pub use place::Place;

/// What can go wrong between a user's files and the planned batches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be opened or read.
    #[error("cannot read `{}`: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write `{}`: {source}; check that the folder exists and has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file's extension names no known format.
    #[error(
        "`{}`: the extension tells the format, and {found} is none of .csv, .tsv, .txt (tab-separated), .jsonl, \
         .ndjson, .json (one object per line), .parquet; rename or convert the file",
        path.display()
    )]
    Extension {
        /// The file.
        path: PathBuf,
        /// The extension as a message shows it.
        found: String,
    },
    /// The file holds nothing at all.
    #[error("`{}` is empty; give a file with at least one row", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file holds a header and no row.
    #[error(
        "`{}` holds a header and no row; add rows, or read the file as one without a header (--no-header)",
        path.display()
    )]
    HeaderOnly {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are not UTF-8.
    #[error(
        "`{}`, line {line}: invalid UTF-8 at byte {offset} of the file; convert the file to UTF-8 \
         (for instance `iconv -f latin1 -t utf-8`)",
        path.display()
    )]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The offset in the file of the first wrong byte, from 0.
        offset: usize,
    },
    /// A quoted field that runs to the end of the file.
    #[error(
        "`{}`, line {line}: a quote opened in this row is never closed; close it, write a literal quote as \"\", \
         or turn quoting off (--no-quotes)",
        path.display()
    )]
    OpenQuote {
        /// The file.
        path: PathBuf,
        /// The line on which the row begins.
        line: usize,
    },
    /// A row with too few or too many columns.
    #[error(
        "`{}`, line {line}: {found} columns where the first row has {expected}; {fix}",
        path.display()
    )]
    RowWidth {
        /// The file.
        path: PathBuf,
        /// The line on which the row begins.
        line: usize,
        /// Columns of the first row.
        expected: usize,
        /// Columns of this row.
        found: usize,
        /// What to do about it, which depends on whether quotes count.
        fix: &'static str,
    },
    /// Two columns of one name.
    #[error("`{}`: two columns are named `{column}`; rename one of them", path.display())]
    DuplicateColumn {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// A line that is no JSON.
    #[error(
        "`{}`, line {line}: malformed JSON at column {column} ({reason}); each line must hold one whole object \
         such as {{\"text\": \"..\", \"label\": \"..\"}}",
        path.display()
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser said.
        reason: String,
    },
    /// A line that is JSON, but no object.
    #[error(
        "`{}`, line {line}: {found} where an object is expected; write each row as \
         {{\"text\": \"..\", \"label\": \"..\"}} on a line of its own",
        path.display()
    )]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The kind of value found.
        found: &'static str,
    },
    /// A Parquet file that cannot be read.
    #[error(
        "`{}` cannot be read as Parquet: {reason}; it may be cut short or use an unsupported codec: fetch it \
         again, or write it with snappy, gzip or zstd",
        path.display()
    )]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A column that the file does not have.
    #[error("`{}` has no column `{column}`{}; its columns are {}", path.display(), did_you_mean(nearest), quoted(available))]
    UnknownColumn {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        column: String,
        /// The names most like it.
        nearest: Vec<String>,
        /// All names.
        available: Vec<String>,
    },
    /// No column's name says that it holds what is needed.
    #[error(
        "`{}`: cannot tell which column holds the {role}; name it with {option} (columns: {}), or add --no-header \
         if the first line is already a row",
        path.display(), quoted(available)
    )]
    CannotGuess {
        /// The file.
        path: PathBuf,
        /// What is looked for: `text`, `label` or `choices`.
        role: &'static str,
        /// The option that names the column.
        option: &'static str,
        /// All names.
        available: Vec<String>,
    },
    /// A value that is null, absent or, for a label, blank.
    #[error("`{}`, {place}: column `{column}` holds no value; fill it in or remove the row", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The column.
        column: String,
    },
    /// A list where one value is expected.
    #[error(
        "`{}`, {place}: column `{column}` holds a list where one value is expected; name another column, or for \
         several labels a row train a multi-label task",
        path.display()
    )]
    List {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The column.
        column: String,
    },
    /// A regression target that is no finite number.
    #[error(
        "`{}`, {place}: `{value}` in column `{column}` is not a finite number; correct it, or train a \
         classification task",
        path.display()
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The column.
        column: String,
        /// The value.
        value: String,
    },
    /// A label that is not among the known ones.
    #[error(
        "`{}`, {place}: label `{label}` is unknown{}; the known labels are {}: correct the row, or train with data \
         that holds this label",
        path.display(), did_you_mean(nearest), quoted(known)
    )]
    UnknownLabel {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The label.
        label: String,
        /// The labels most like it.
        nearest: Vec<String>,
        /// All known labels.
        known: Vec<String>,
    },
    /// A template that is none.
    #[error("the template `{template}` cannot be used: {reason}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A label that names none of its row's choices.
    #[error(
        "`{}`, {place}: `{label}` is neither one of the choices {} nor the index of one, counted from 0; correct it",
        path.display(), quoted(choices)
    )]
    NoSuchChoice {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The label.
        label: String,
        /// The choices of the row.
        choices: Vec<String>,
    },
    /// A set of labels that cannot be one.
    #[error("the labels cannot be used: {reason}")]
    Labels {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A split that leaves one side empty.
    #[error(
        "cannot set aside a fraction of {fraction} of {rows} rows; give a fraction between 0 and 1 that leaves \
         at least one row on each side, or a validation file"
    )]
    Split {
        /// The fraction asked for.
        fraction: f64,
        /// The rows there are.
        rows: usize,
    },
    /// A folder without a tokenizer.
    #[error(
        "no tokenizer in `{}`: looked for {looked_for}; copy one there, or write tokenizer.json with \
         `AutoTokenizer.from_pretrained(..).save_pretrained(..)` of Hugging Face transformers",
        folder.display()
    )]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// The names looked for.
        looked_for: &'static str,
    },
    /// A folder with T5's vocabulary in SentencePiece's format alone.
    #[error(
        "`{0}` holds spiece.model and no tokenizer.json; convert it once, in Python with `pip install transformers \
         sentencepiece protobuf`: `AutoTokenizer.from_pretrained(\"{0}\").save_pretrained(\"{0}\")`",
        folder.display()
    )]
    SentencePiece {
        /// The folder.
        folder: PathBuf,
    },
    /// A tokenizer file that cannot be used.
    #[error("`{}` is no usable tokenizer file: {reason}; fetch it again", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A maximum length without room for a single token of text.
    #[error(
        "a maximum length of {max_length} leaves no room for text beside {special} special tokens; give at least {}",
        special + 2
    )]
    MaxLength {
        /// The length asked for.
        max_length: usize,
        /// The special tokens of a pair.
        special: usize,
    },
    /// A maximum length without room for a single token of a text to write.
    #[error(
        "a maximum length of {max_length} leaves no room for a text to write beside {special} special tokens; give at \
         least {}",
        special + 1
    )]
    TargetLength {
        /// The length asked for.
        max_length: usize,
        /// The special tokens of a text.
        special: usize,
    },
    /// The tokenizer gave up on one of several texts.
    #[error("text {number}: the tokenizer failed on it ({reason}); shorten or remove it")]
    EncodeText {
        /// The text, counted from 1.
        number: usize,
        /// What the tokenizer said.
        reason: String,
    },
    /// The tokenizer gave up on token ids.
    #[error("the tokenizer cannot make a text of the tokens {ids:?}: {reason}; is it the model's own?")]
    Decode {
        /// The tokens.
        ids: Vec<u32>,
        /// What the tokenizer said.
        reason: String,
    },
    /// The tokenizer gave up on a text.
    #[error("line {line}: the tokenizer failed on the text ({reason}); shorten or remove the row")]
    Encode {
        /// The line of the row.
        line: usize,
        /// What the tokenizer said.
        reason: String,
    },
    /// A file of words without tags where tags are needed.
    #[error(
        "`{}` has words and no tags; give each word's tag in the last column (CoNLL), or in `ner_tags` or `tags` \
         (JSON lines, Parquet)",
        path.display()
    )]
    NoTags {
        /// The file.
        path: PathBuf,
    },
    /// A line of a CoNLL file without a word.
    #[error(
        "`{}`, line {line}: the first column, which holds the word, is empty; fill it in or remove the line",
        path.display()
    )]
    NoWord {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A text where a list of words or tags is expected.
    #[error(
        "`{}`, {place}: column `{column}` holds a text where a list is expected; write it as [\"..\", \"..\"]",
        path.display()
    )]
    NotAList {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The column.
        column: String,
    },
    /// A sentence with more or fewer tags than words.
    #[error("`{}`, {place}: {words} words and {tags} tags; give each word one tag", path.display())]
    TagCount {
        /// The file.
        path: PathBuf,
        /// The row.
        place: Place,
        /// The words of the sentence.
        words: usize,
        /// Its tags.
        tags: usize,
    },
    /// A file of questions that is not in SQuAD's layout.
    #[error(
        "`{}` is not in SQuAD's layout: {reason}; write {{\"data\": [{{\"paragraphs\": [{{\"context\": \"..\", \
         \"qas\": [{{\"id\": \"..\", \"question\": \"..\", \"answers\": [{{\"text\": \"..\", \
         \"answer_start\": 0}}]}}]}}]}}]}}",
        path.display()
    )]
    Squad {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        reason: String,
    },
    /// A file without a question.
    #[error("`{}` holds no question; give a file with at least one", path.display())]
    NoQuestions {
        /// The file.
        path: PathBuf,
    },
    /// Two questions of one id.
    #[error(
        "`{}`: two questions have the id `{id}`; give each its own, since answers are told apart by it",
        path.display()
    )]
    DuplicateQuestion {
        /// The file.
        path: PathBuf,
        /// The id.
        id: String,
    },
    /// A question that leaves too little room for its context.
    #[error(
        "question `{id}` is {tokens} tokens long, which at a maximum length of {max_length} leaves room for {room} of \
         its context, and windows that overlap by {stride} need at least {}; raise the maximum length, lower the stride \
         or shorten the question",
        stride + 1
    )]
    LongQuestion {
        /// The question.
        id: String,
        /// Its tokens.
        tokens: usize,
        /// The length of a window.
        max_length: usize,
        /// What is left of it for the context.
        room: usize,
        /// The overlap asked for.
        stride: usize,
    },
    /// The tokenizer gave up on a question or its context.
    #[error("question `{id}`: the tokenizer failed on it or its context ({reason}); shorten or remove it")]
    EncodeQuestion {
        /// The question.
        id: String,
        /// What the tokenizer said.
        reason: String,
    },
    /// Text to pre-train on that cannot be used.
    #[error(transparent)]
    Corpus(CorpusError),
    /// A batch size of zero.
    #[error("{what} is 0, so no batch could hold a row; give at least 1")]
    ZeroBatch {
        /// The setting that is zero.
        what: &'static str,
    },
}
