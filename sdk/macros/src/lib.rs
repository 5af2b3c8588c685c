//! The macros of `wasmill-sdk`, which re-exports and documents them.
//!
//! Guarantees: the author's items stay as written and callable; misuse is an error at the place of the mistake. Must not
//! know: how columns are laid out, which the SDK's traits do.

mod aggregate;
mod broadcast;
mod derive;
mod keyed;
mod method;
mod parts;
mod record;
mod sink;
mod state;
mod states;
mod transform;
mod trigger;
mod window;

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

/// A struct as the states of an operator: a field each, with the name of the field.
///
/// A field is a `ValueState`, `ListState`, `MapState`, `ReducingState`, `AggregatingState`, `OperatorListState`, `OperatorUnionState` or
/// `BroadcastState`, and the struct has the one lifetime that these take: `struct Seen<'a> { count: ValueState<'a, i64> }`. On a field,
///
/// - `#[state(time_to_live = "24h")]` lets values expire: a number and `ms`, `s`, `m`, `h` or `d`;
/// - `update = "on_read_and_write"` renews the time also when a value is read, else `"on_write"`;
/// - `visibility = "return_expired"` shows values that expired but are not cleaned up yet, else `"never_return_expired"`;
/// - `version = 2` counts the versions of the values' meaning.
#[proc_macro_derive(States, attributes(state))]
pub fn states(item: TokenStream) -> TokenStream {
    finish(states::states(parse_macro_input!(item as DeriveInput)))
}

fn block(
    arguments: TokenStream,
    item: TokenStream,
    expand: fn(ItemImpl) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let block = parse_macro_input!(item as ItemImpl);
    finish(method::no_arguments(arguments.into()).and_then(|()| expand(block)))
}

/// A struct as a keyed function: an `impl` block with
///
/// - `fn process(&mut self, In, ...)`, or `-> Result<(), E>` to reject records;
/// - `fn on_timer(&mut self, Timer, ...)`, where timers are set;
/// - `fn prefetch(&self, In, &mut States)`, where map state is read: it is called for all records of a batch before `process` is;
/// - `fn new(Config) -> Result<Self, E>`, where the struct has fields.
///
/// Behind the record or timer they take, in any order, what they need of `&mut Output<Out, Side>`, `&mut KeyedContext<Key>` and, of the
/// author's types, `&mut States` and, behind these, `&mut Metrics`.
#[proc_macro_attribute]
pub fn keyed_process(arguments: TokenStream, item: TokenStream) -> TokenStream {
    block(arguments, item, keyed::keyed_process)
}

/// A struct as a keyed function of two inputs: as for `#[keyed_process]`, with `process_first` and `process_second`, and
/// `prefetch_first` and `prefetch_second`.
#[proc_macro_attribute]
pub fn connected_process(arguments: TokenStream, item: TokenStream) -> TokenStream {
    block(arguments, item, keyed::connected_process)
}

/// A struct as a function with a broadcast input: as for `#[keyed_process]`, where `process`, `on_timer` and `prefetch` take `&Broadcast`, and
/// `fn process_broadcast(&mut self, In, &mut Broadcast, ...)` changes these states; it may take `&Context`.
#[proc_macro_attribute]
pub fn broadcast_process(arguments: TokenStream, item: TokenStream) -> TokenStream {
    block(arguments, item, broadcast::broadcast_process)
}

/// A struct as a function over windows: an `impl` block with `fn process(&mut self, Elements<In>, ...)`, and `fn new(Config) -> Result<Self, E>`
/// where the struct has fields.
///
/// Behind the elements it takes, in any order, what it needs of `&mut Output<Out, Side>`, `&WindowContext<Key>` and, of the author's
/// types, `&mut States` and, behind these, `&mut Metrics`.
#[proc_macro_attribute]
pub fn process_window(arguments: TokenStream, item: TokenStream) -> TokenStream {
    block(arguments, item, window::process_window)
}

/// A struct as a trigger: an `impl` block with
///
/// - `fn on_element(&mut self, In, ...) -> Decision`;
/// - `fn on_timer(&mut self, Timer, ...) -> Decision`, where timers are set;
/// - `fn on_merge(&mut self, states: &mut States, merged: &mut States, ...) -> Decision`, for windows that grow together;
/// - `fn new(Config) -> Result<Self, E>`, where the struct has fields.
///
/// They take, in any order, what they need of `&mut TriggerContext` and, of the author's types, `&mut States` and, behind these,
/// `&mut Metrics`.
#[proc_macro_attribute]
pub fn trigger(arguments: TokenStream, item: TokenStream) -> TokenStream {
    block(arguments, item, trigger::trigger)
}

/// A struct as a sink: an `impl` block with
///
/// - `fn write(&mut self, In, ...)`, or `-> Result<(), E>` to reject records;
/// - `fn finish(&mut self, ...)`, called at the end of the input;
/// - `fn new(Config) -> Result<Self, E>`, where the struct has fields.
///
/// They take, in any order, what they need of `&mut Output<Out>`, `&Context` and, of the author's types, `&mut States` and, behind
/// these, `&mut Metrics`.
#[proc_macro_attribute]
pub fn sink(arguments: TokenStream, item: TokenStream) -> TokenStream {
    block(arguments, item, sink::sink)
}

fn function(form: transform::Form, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    finish(method::no_arguments(arguments.into()).and_then(|()| transform::function(form, function)))
}
