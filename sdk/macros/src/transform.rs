//! `#[map]`, `#[filter]`, `#[filter_map]`, `#[flat_map]` and `#[transform]`.
//!
//! Guarantees: what a parameter is follows from its type alone. Must not know: how a batch is looped over.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, ItemFn, ItemImpl, Result, Signature, Type, TypeReference, parse_quote};

use crate::method;

/// What the author's function does with a record.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Map,
    Filter,
    FilterMap,
    FlatMap,
}

/// What the parameters and the return type say.
struct Parts {
    input: Type,
    output: Type,
    sides: Type,
    config: Option<Type>,
    metrics: Type,
    /// What to call the function with, in order.
    arguments: Vec<TokenStream>,
    fallible: bool,
}

fn nothing() -> Type {
    parse_quote!(())
}

fn parts(form: Form, signature: &Signature) -> Result<Parts> {
    method::plain(signature)?;
    let parameters = method::parameters(signature);
    let Some((first, rest)) = parameters.split_first() else {
        return Err(Error::new_spanned(signature, "the first parameter is the record"));
    };
    if let Type::Reference(_) = first {
        return Err(Error::new_spanned(first, "the first parameter is the record itself, not a reference to it"));
    }
    let mut parts = Parts {
        input: method::elided(first),
        output: nothing(),
        sides: nothing(),
        config: None,
        metrics: nothing(),
        arguments: vec![quote!(record)],
        fallible: false,
    };
    let mut has_output = false;
    for parameter in rest {
        has_output |= further(&mut parts, parameter)?;
    }
    if has_output != (form == Form::FlatMap) {
        let advice = if has_output {
            "this macro emits what the function returns: drop the `Output`, or use `#[flat_map]`"
        } else {
            "a parameter is missing: `out: &mut Output<T>`"
        };
        return Err(Error::new_spanned(&signature.inputs, advice));
    }
    of_return_type(form, signature, &mut parts)?;
    Ok(parts)
}

/// Takes a parameter behind the record; true if it is the output.
fn further(parts: &mut Parts, parameter: &Type) -> Result<bool> {
    let Type::Reference(TypeReference { mutability, elem, .. }) = parameter else {
        return Err(Error::new_spanned(
            parameter,
            "behind the record come references: `&mut Output<T>`, `&Context`, your `&Config`, your `&mut Metrics`",
        ));
    };
    if let Some(arguments) = method::arguments_of(elem, "Output") {
        let [output, sides @ ..] = &arguments[..] else {
            return Err(Error::new_spanned(elem, "say what is emitted: `Output<T>`"));
        };
        if mutability.is_none() {
            return Err(Error::new_spanned(parameter, "the output is changed by emitting: `&mut Output<T>`"));
        }
        parts.output = method::elided(output);
        parts.sides = sides.first().map_or_else(nothing, |sides| method::elided(sides));
        parts.arguments.push(quote!(out));
        return Ok(true);
    }
    if method::arguments_of(elem, "Context").is_some() {
        parts.arguments.push(quote!(context));
    } else if mutability.is_some() {
        parts.metrics = (**elem).clone();
        parts.arguments.push(quote!(metrics));
    } else if parts.config.replace((**elem).clone()).is_some() {
        return Err(Error::new_spanned(parameter, "there is a configuration already"));
    } else {
        parts.arguments.push(quote!(&self.configuration));
    }
    Ok(false)
}

fn of_return_type(form: Form, signature: &Signature, parts: &mut Parts) -> Result<()> {
    let returned = method::returned(signature)?;
    parts.fallible = returned.fallible;
    let wrong = |message: &str| Err(Error::new_spanned(signature, message));
    match form {
        Form::Map if returned.ty == nothing() => return wrong("a map returns a record: `-> T` or `-> Result<T, E>`"),
        Form::Map => parts.output = returned.ty,
        Form::Filter if returned.ty != parse_quote!(bool) => {
            return wrong("a filter returns whether the record stays: `-> bool` or `-> Result<bool, E>`");
        }
        Form::Filter => parts.output = parse_quote!(::wasmill_sdk::record::InputRow),
        Form::FilterMap => match method::arguments_of(&returned.ty, "Option").as_deref() {
            Some([output]) => parts.output = (*output).clone(),
            _ => return wrong("a filter_map returns a record or none: `-> Option<T>` or `-> Result<Option<T>, E>`"),
        },
        Form::FlatMap if returned.ty != nothing() => {
            return wrong("a flat_map emits to its output, and returns nothing or `Result<(), E>`");
        }
        Form::FlatMap => {}
    }
    Ok(())
}

/// The operator's trait; `call` calls the author's function, `instance` makes the operator from `configuration`.
fn operator(
    form: Form,
    operator: &Type,
    config: &Type,
    parts: &Parts,
    call: TokenStream,
    instance: TokenStream,
) -> TokenStream {
    let Parts { input, output, sides, metrics, .. } = parts;
    let outcome = method::outcome(call, parts.fallible);
    let emit = match form {
        Form::Map => quote!(#outcome.map(|record| out.emit(record))),
        Form::Filter => quote! {
            #outcome.map(|stays| if stays { out.emit(::wasmill_sdk::record::InputRow) })
        },
        Form::FilterMap => quote! {
            #outcome.map(|record| if let Some(record) = record { out.emit(record) })
        },
        Form::FlatMap => outcome,
    };
    quote! {
        const _: () = {
            use ::wasmill_sdk::bindings::types::{Batch, Description, Emission, Fault, Moment};
            use ::wasmill_sdk::{config, operator::Identity, transform};
            #[automatically_derived]
            impl transform::Transform for #operator {
                fn describe(identity: Identity) -> Description {
                    transform::describe::<#input, #output, #sides, #config, #metrics>(identity)
                }
                fn new(configuration: &str) -> Result<Self, String> {
                    let configuration: #config = config::parse(configuration)?;
                    #instance
                }
                fn process(&mut self, moment: Moment, batch: Batch) -> Result<Emission, Fault> {
                    transform::process::<#input, #output, #sides, #metrics>(
                        moment,
                        batch,
                        #[inline(always)]
                        |record, out, context, metrics| #emit,
                    )
                }
            }
        };
    }
}

/// A function as a transform: a type of the function's name, which holds the configuration.
pub fn function(form: Form, function: ItemFn) -> Result<TokenStream> {
    if let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first() {
        return Err(Error::new_spanned(
            receiver,
            "for a transform with fields, use `#[transform]` on its `impl` block",
        ));
    }
    let parts = parts(form, &function.sig)?;
    let (ident, visibility) = (&function.sig.ident, &function.vis);
    let config = parts.config.clone().unwrap_or_else(nothing);
    let instance = quote!(Ok(Self { configuration }));
    let arguments = &parts.arguments;
    let call = quote!(#ident(#(#arguments),*));
    let operator = operator(form, &parse_quote!(#ident), &config, &parts, call, instance);
    let documentation = format!("The operator of the function `{ident}`.");
    Ok(quote! {
        #function
        #[doc = #documentation]
        #[allow(non_camel_case_types, dead_code)]
        #visibility struct #ident { configuration: #config }
        #operator
    })
}

/// An `impl` block as a transform.
pub fn block(block: ItemImpl) -> Result<TokenStream> {
    method::inherent(&block)?;
    let process = method::required(&block, "process", "fn process(&mut self, record: In, out: &mut Output<Out>)")?;
    let parts = parts(Form::FlatMap, process)?;
    if let Some(config) = &parts.config {
        return Err(Error::new_spanned(
            config,
            "the configuration is given to `new`: keep what you need of it in a field",
        ));
    }
    let (config, instance) = method::constructor(&block)?;
    let call = method::call(process, &parts.arguments);
    let operator = operator(Form::FlatMap, &block.self_ty, &config, &parts, call, instance);
    Ok(quote!(#block #operator))
}
