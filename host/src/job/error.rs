//! What is wrong with a job: one error type for reading and planning, with stable codes. Every code has a page under
//! `docs/errors/`.
use std::fmt;

use super::Place;

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:ident,)*) => {
        /// What kind of thing is wrong. A code once given keeps its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// Such as `J0104`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => stringify!($code),)* }
            }
        }
    };
}

codes! {
    /// The job file cannot be read.
    J0101 = Unreadable,
    /// A `${VARIABLE}` cannot be filled in.
    J0102 = Variable,
    /// The file is not YAML.
    J0103 = Syntax,
    /// A field there is not.
    J0104 = UnknownField,
    /// A field that must be there.
    J0105 = MissingField,
    /// A value of the wrong type.
    J0106 = WrongType,
    /// A value that is not understood or out of range.
    J0107 = BadValue,
    /// A name with characters names may not have.
    J0108 = BadName,
    /// A name, uid or field given twice.
    J0109 = Duplicate,
    /// A source or sink without a connector or with several.
    J0110 = Connector,
    /// An operator that runs nothing or several things.
    J0111 = Step,
    /// None or several of fields of which there is one.
    J0112 = Choice,
    /// A capability that cannot be granted.
    J0113 = Capability,
    /// An input that does not exist.
    J0201 = UnknownInput,
    /// A side output that does not exist.
    J0202 = UnknownOutput,
    /// Operators that feed themselves.
    J0203 = Cycle,
    /// Key, window and step that do not go together.
    J0204 = Window,
    /// A plugin that cannot be used for this step.
    J0205 = Plugin,
    /// A source whose columns are not known.
    J0206 = NoSchema,
    /// A column that does not exist.
    J0207 = NoColumn,
    /// A column of another type than is read.
    J0208 = ColumnType,
    /// A column that cannot be a key.
    J0209 = KeyType,
    /// Inputs of one operator with different columns.
    J0210 = UnionSchema,
    /// Two columns of one name in an output.
    J0211 = ColumnClash,
    /// A time column without times.
    J0212 = TimeColumn,
    /// Columns that cannot be read or written in a format.
    J0213 = Format,
    /// A second input that the step needs or has no use for.
    J0214 = SecondInput,
    /// Keys of two inputs that cannot be compared.
    J0215 = KeyMismatch,
    /// A source that loses records, in a job with checkpoints.
    J0216 = Delivery,
    /// Settings of a window that do not go together.
    J0217 = WindowSettings,
    /// What is to become of failed calls, and cannot.
    J0218 = Failures,
    /// Rules of one operator that write different columns.
    J0219 = Rules,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a job cannot be run as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// What kind of error, with a page of its own.
    pub code: Code,
    /// The job file, as it was asked for.
    pub file: String,
    /// From 1; 0 if it concerns the whole file.
    pub line: u32,
    /// In characters, from 1; 0 if unknown.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl JobError {
    pub(super) fn new(code: Code, file: &str, place: Place, message: impl Into<String>) -> JobError {
        let Place { line, column } = place;
        JobError { code, file: file.to_owned(), line, column, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> JobError {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}\n  --> {}", self.code, self.message, self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        match &self.help {
            Some(help) => write!(f, "\n   = help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for JobError {}

/// "did you mean `x`?" if one of the candidates is near, else the list of them.
pub(super) fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, what: &str) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let distance_max = (word.chars().count() / 3).max(1);
    let near = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => format!("there are no {what}"),
        None => format!("the {what} are {}", list(&candidates)),
    }
}

/// "`a`, `b` and `c`".
pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
