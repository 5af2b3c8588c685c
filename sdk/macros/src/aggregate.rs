//! `#[aggregate]`.
//!
//! Guarantees: what the author leaves out has one meaning, named in the macro's documentation. Must not know: how accumulators
//! travel.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemImpl, Result, Signature, Type, TypeReference};

use crate::method;

const ACCUMULATE: &str = "fn accumulate(accumulator: &mut Accumulator, record: In)";
const MERGE: &str = "fn merge(accumulator: &mut Accumulator, other: Accumulator)";
const RESULT: &str = "fn result(accumulator: &Accumulator) -> Out";

fn refuse<T>(signature: &Signature, expected: &str) -> Result<T> {
    Err(Error::new_spanned(signature, format!("this should be `{expected}`, with or without `&self`")))
}

struct Accumulate {
    accumulator: Type,
    input: Type,
    call: TokenStream,
}

fn accumulate(signature: &Signature) -> Result<Accumulate> {
    let parameters = method::parameters(signature);
    let (accumulator, input, context) = match parameters[..] {
        [Type::Reference(TypeReference { mutability: Some(_), elem, .. }), input] => (elem, input, None),
        [Type::Reference(TypeReference { mutability: Some(_), elem, .. }), input, context] if is_context(context) => {
            (elem, input, Some(quote!(context)))
        }
        _ => return refuse(signature, ACCUMULATE),
    };
    let returned = method::returned(signature)?;
    if returned.ty != syn::parse_quote!(()) {
        return Err(Error::new_spanned(&signature.output, "it returns nothing, or `Result<(), E>`"));
    }
    let arguments: Vec<_> = [quote!(accumulator), quote!(record)].into_iter().chain(context).collect();
    let call = method::outcome(method::call(signature, &arguments), returned.fallible);
    Ok(Accumulate { accumulator: (**accumulator).clone(), input: method::elided(input), call })
}

fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if method::arguments_of(&reference.elem, "Context").is_some())
}

/// The argument for a parameter that may take a value or a reference to it.
fn pass(parameter: &Type, value: TokenStream) -> TokenStream {
    if matches!(parameter, Type::Reference(_)) { quote!(&#value) } else { value }
}

pub fn block(block: ItemImpl) -> Result<TokenStream> {
    method::inherent(&block)?;
    for name in ["create", "accumulate", "merge", "result"] {
        let receiver = method::method(&block, name).and_then(|method| method.sig.receiver());
        if let Some(receiver) =
            receiver.filter(|receiver| receiver.mutability.is_some() || receiver.reference.is_none())
        {
            return Err(Error::new_spanned(
                receiver,
                "an aggregate keeps all it knows in the accumulator: take `&self`",
            ));
        }
    }
    let Accumulate { accumulator, input, call } = accumulate(method::required(&block, "accumulate", ACCUMULATE)?)?;
    let merge = method::required(&block, "merge", MERGE)?;
    let merge_call = match method::parameters(merge)[..] {
        [_, other] => method::call(merge, &[quote!(accumulator), pass(other, quote!(other))]),
        _ => return refuse(merge, MERGE),
    };
    let result = method::required(&block, "result", RESULT)?;
    let returned = method::returned(result)?;
    if returned.fallible {
        return Err(Error::new_spanned(&result.output, "a result cannot fail: reject the record in `accumulate`"));
    }
    let result_call = match method::parameters(result)[..] {
        [of] => method::call(result, &[pass(of, quote!(accumulator))]),
        _ => return refuse(result, RESULT),
    };
    let create = match method::method(&block, "create") {
        Some(create) => method::call(&create.sig, &[]),
        None => quote!(<#accumulator as ::core::default::Default>::default()),
    };
    let (config, instance) = method::constructor(&block)?;
    let (operator, output) = (&block.self_ty, returned.ty);
    Ok(quote! {
        #block
        const _: () = {
            use ::wasmill_sdk::bindings::exports_of_aggregate::Accumulated;
            use ::wasmill_sdk::bindings::types::{Batch, Column, Description, Fault, Moment};
            use ::wasmill_sdk::{aggregate, config, operator::Identity, record::Record};
            #[automatically_derived]
            impl aggregate::Aggregate for #operator {
                fn describe(identity: Identity) -> Description {
                    aggregate::describe::<#input, #accumulator, #output, #config>(identity)
                }
                fn new(configuration: &str) -> Result<Self, String> {
                    let configuration: #config = config::parse(configuration)?;
                    #instance
                }
                fn accumulate(
                    &mut self,
                    moment: Moment,
                    batch: Batch,
                    groups: Vec<u32>,
                    accumulators: Column,
                ) -> Result<Accumulated, Fault> {
                    aggregate::accumulate::<#input, #accumulator>(
                        moment,
                        batch,
                        groups,
                        accumulators,
                        || #create,
                        |accumulator, record, context| #call,
                    )
                }
                fn merge(&mut self, accumulators: Column, others: Column, groups: Vec<u32>) -> Result<Column, Fault> {
                    aggregate::merge::<#accumulator>(
                        accumulators,
                        others,
                        groups,
                        || #create,
                        |accumulator, other| #merge_call,
                    )
                }
                fn results(&mut self, accumulators: Column) -> Result<Vec<Column>, Fault> {
                    aggregate::results::<#accumulator, #output>(
                        accumulators,
                        || #create,
                        |accumulator, columns| <#output as Record>::push(columns, #result_call),
                    )
                }
            }
        };
    })
}
