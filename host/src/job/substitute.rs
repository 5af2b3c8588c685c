//! `${VARIABLE}` and `${VARIABLE:default}` in the text of a job file. Keeps lines as they are, and remembers how far columns
//! moved, so that errors point into the file as it was written. Knows of YAML only comments and quotes.
use super::{JOB_FILE_BYTES_MAX, Place};

/// Bytes of a job file's text once its variables are filled in: a short reference may stand for a long value any number of times.
const FILLED_IN_BYTES_MAX: usize = 4 * JOB_FILE_BYTES_MAX as usize;

/// The text with its variables filled in.
#[derive(Debug, Default)]
pub(super) struct Substituted {
    pub text: String,
    /// What was filled in, in order: what is between the braces, and the value.
    pub filled: Vec<(String, String)>,
    shifts: Vec<Shift>,
}

/// One filled-in variable, in the order of the text. Columns and lengths in characters.
#[derive(Debug)]
struct Shift {
    line: u32,
    /// Where the value begins in the new text.
    column: u32,
    value_length: u32,
    /// Where the reference begins in the file, and where it is over.
    reference: (u32, u32),
}

impl Substituted {
    /// The place in the file as written, of a place in the new text. Inside a value: where its `${` is.
    pub fn original(&self, place: Place) -> Place {
        let after = self.shifts.partition_point(|shift| (shift.line, shift.column) <= (place.line, place.column));
        let Some(shift) = self.shifts[..after].last().filter(|shift| shift.line == place.line) else { return place };
        let column = match (place.column - shift.column).checked_sub(shift.value_length) {
            Some(past) => shift.reference.1 + past,
            None => shift.reference.0,
        };
        Place { line: place.line, column }
    }
}

/// The value of what is between the braces, or what is wrong with that and a help.
pub(super) type ValueOf<'a> = dyn FnMut(&str) -> Result<String, (String, String)> + 'a;

/// Why a variable could not be filled in.
#[derive(Debug)]
pub(super) struct Refused {
    pub place: Place,
    pub message: String,
    pub help: String,
}

/// Fills in the variables everywhere but in comments. `$${` stands for a literal `${`.
pub(super) fn substitute(text: &str, value_of: &mut ValueOf<'_>) -> Result<Substituted, Refused> {
    let mut out = Substituted { text: String::with_capacity(text.len()), ..Substituted::default() };
    let mut quotes = Quotes::default();
    for (line, number) in text.split_inclusive('\n').zip(1u32..) {
        substitute_line(line, number, value_of, &mut quotes, &mut out)?;
    }
    Ok(out)
}

fn substitute_line(
    line: &str,
    number: u32,
    value_of: &mut ValueOf<'_>,
    quotes: &mut Quotes,
    out: &mut Substituted,
) -> Result<(), Refused> {
    let (mut rest, mut read, mut written) = (line, 1u32, 1u32);
    quotes.begin_line();
    while let Some(next) = rest.chars().next() {
        if quotes.begins_comment(next) {
            out.text.push_str(rest);
            return Ok(());
        }
        if rest.starts_with("$${") {
            out.text.push_str("${");
            out.shifts.push(Shift { line: number, column: written, value_length: 2, reference: (read, read + 3) });
            (rest, read, written) = (&rest[3..], read + 3, written + 2);
            quotes.see('{');
        } else if let Some(reference) = rest.strip_prefix("${") {
            let place = Place { line: number, column: read };
            let refuse = |message: String, help: String| Refused { place, message, help };
            let Some(end) = reference.find(['}', '\n']).filter(|&end| reference.as_bytes()[end] == b'}') else {
                return Err(refuse("`${` without `}`".into(), "write `${NAME}`, or `$${` for a literal `${`".into()));
            };
            let value = value_of(&reference[..end]).map_err(|(message, help)| refuse(message, help))?;
            let over = read + reference[..end].chars().count() as u32 + 3;
            let value_length = value.chars().count() as u32;
            if out.text.len() + value.len() > FILLED_IN_BYTES_MAX {
                return Err(refuse(
                    format!("with its variables filled in the text has more than {FILLED_IN_BYTES_MAX} bytes"),
                    "have long values where they are needed only".into(),
                ));
            }
            out.text.push_str(&value);
            out.filled.push((reference[..end].to_owned(), value));
            out.shifts.push(Shift { line: number, column: written, value_length, reference: (read, over) });
            (rest, read, written) = (&reference[end + 1..], over, written + value_length);
            quotes.see('}');
        } else {
            quotes.see(next);
            out.text.push(next);
            (rest, read, written) = (&rest[next.len_utf8()..], read + 1, written + 1);
        }
    }
    Ok(())
}

/// What `${NAME}` or `${NAME:default}` stands for, given what is between the braces.
pub(super) fn value_of(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, (String, String)> {
    let (name, default) = match reference.split_once(':') {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Err((
            format!("`${{{reference}}}` is no variable"),
            "write `${NAME}` with letters, digits and `_`, or `$${` for a literal `${`".into(),
        ));
    }
    let value = env(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
        (
            format!("the environment variable `{name}` is not set"),
            format!("set it, or write a default: `${{{name}:value}}`"),
        )
    })?;
    if value.contains(['\n', '\r']) {
        return Err((
            format!("the environment variable `{name}` has a line break"),
            "only values of one line can be put into a job file".into(),
        ));
    }
    Ok(value)
}

/// Follows quotes, to tell comments. A quote opens only where a YAML value can begin: `don't` has none.
#[derive(Debug, Default)]
struct Quotes {
    open: Option<char>,
    escaped: bool,
    /// Whether the last character closed a quote: another one makes it `''`, a quote within the quotes.
    closed: bool,
    last: Option<char>,
    last_visible: Option<char>,
}

impl Quotes {
    fn begin_line(&mut self) {
        (self.last, self.last_visible) = (None, None);
    }

    fn begins_comment(&self, next: char) -> bool {
        next == '#' && self.open.is_none() && self.last.is_none_or(char::is_whitespace)
    }

    fn see(&mut self, c: char) {
        let closed = std::mem::take(&mut self.closed);
        match self.open {
            Some(_) if self.escaped => self.escaped = false,
            Some('"') if c == '\\' => self.escaped = true,
            Some(quote) if c == quote => (self.open, self.closed) = (None, true),
            Some(_) => {}
            None if closed && c == '\'' => self.open = Some(c),
            None if matches!(c, '"' | '\'')
                && self.last_visible.is_none_or(|c| matches!(c, ':' | ',' | '[' | '{' | '-' | '?')) =>
            {
                self.open = Some(c);
            }
            None => {}
        }
        self.last = Some(c);
        if !c.is_whitespace() {
            self.last_visible = Some(c);
        }
    }
}
