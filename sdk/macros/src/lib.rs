//! The macros of `wasmill-sdk`, which re-exports and documents them.
//!
//! Guarantees: the author's items stay as written and callable; misuse is an error at the place of the mistake. Must not
//! know: how columns are laid out, which the SDK's traits do.

mod aggregate;
mod derive;
mod method;
mod record;
mod state;
mod transform;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemFn, ItemImpl, parse_macro_input};

fn finish(result: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    result.unwrap_or_else(|error| error.into_compile_error()).into()
}

/// A struct as a row: its fields are columns.
///
/// A field is an `i64`, `f64`, `bool`, `&str`, `String`, `&[u8]` or `Vec<u8>`, or an `Option` of one where values may be missing.
/// The struct may have one lifetime. `#[record(name = "userId")]` on a field names its column,
/// `#[record(rename_all = "camelCase")]` on the struct names all of them.
#[proc_macro_derive(Record, attributes(record))]
pub fn record(item: TokenStream) -> TokenStream {
    finish(record::expand(parse_macro_input!(item as DeriveInput)))
}

/// An enum as the side outputs of a transform: a variant each, which holds a record, or nothing for the input row as it is.
///
/// A side output has the name of its variant, in lower case with hyphens.
#[proc_macro_derive(SideOutputs)]
pub fn side_outputs(item: TokenStream) -> TokenStream {
    finish(derive::side_outputs(parse_macro_input!(item as DeriveInput)))
}

/// A struct of `Counter`, `Gauge` and `Histogram` fields as the metrics of an operator, named as the fields.
#[proc_macro_derive(Metrics)]
pub fn metrics(item: TokenStream) -> TokenStream {
    finish(derive::metrics(parse_macro_input!(item as DeriveInput)))
}

/// A struct or enum as state: `#[state(postcard)]` or `#[state(json)]` says how it travels, `version = 2` that the meaning of its
/// values changed. It derives `Serialize` and `Deserialize`.
#[proc_macro_attribute]
pub fn state(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(state::state(parse_macro_input!(arguments), parse_macro_input!(item as DeriveInput)))
}

/// A struct as configuration: it derives `Deserialize` and `JsonSchema`, and refuses fields it does not know.
#[proc_macro_attribute]
pub fn config(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(state::config(arguments.into(), parse_macro_input!(item as DeriveInput)))
}

/// A function from a record to a record: `fn(In) -> Out`, or `-> Result<Out, E>` to reject records.
///
/// It may take, behind the record, `&Context`, `&Config` and `&mut Metrics`, the latter two types of the author's.
#[proc_macro_attribute]
pub fn map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function(transform::Form::Map, arguments, item)
}

/// A function that says whether a record stays: `fn(In) -> bool`, or `-> Result<bool, E>` to reject records. The row is passed on
/// as it is, with the columns that the record does not have too. Further parameters as for `#[map]`.
#[proc_macro_attribute]
pub fn filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function(transform::Form::Filter, arguments, item)
}

/// A function from a record to a record or none: `fn(In) -> Option<Out>`, or `-> Result<Option<Out>, E>` to reject records. Further
/// parameters as for `#[map]`.
#[proc_macro_attribute]
pub fn filter_map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function(transform::Form::FilterMap, arguments, item)
}

/// A function from a record to any number of them: `fn(In, &mut Output<Out>)`, or `-> Result<(), E>` to reject records. Further
/// parameters as for `#[map]`; `&mut Output<Out, Side>` has side outputs.
#[proc_macro_attribute]
pub fn flat_map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    function(transform::Form::FlatMap, arguments, item)
}

/// A struct as a transform: an `impl` block with `fn process(&mut self, In, &mut Output<Out>)`, as for `#[flat_map]`, and
/// `fn new(Config) -> Result<Self, E>` where it has fields.
#[proc_macro_attribute]
pub fn transform(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as ItemImpl);
    finish(method::no_arguments(arguments.into()).and_then(|()| transform::block(block)))
}

/// A struct as an aggregate: an `impl` block with
///
/// - `fn accumulate(&mut Accumulator, In)`, or `-> Result<(), E>` to reject records; it may take a `&Context` behind the record;
/// - `fn merge(&mut Accumulator, Accumulator)`;
/// - `fn result(&Accumulator) -> Out`;
/// - `fn create() -> Accumulator`, where `Default` is not meant;
/// - `fn new(Config) -> Result<Self, E>`, where the struct has fields; then any of the above may take `&self`.
#[proc_macro_attribute]
pub fn aggregate(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as ItemImpl);
    finish(method::no_arguments(arguments.into()).and_then(|()| aggregate::block(block)))
}

fn function(form: transform::Form, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    finish(method::no_arguments(arguments.into()).and_then(|()| transform::function(form, function)))
}
