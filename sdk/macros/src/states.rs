//! `#[derive(States)]`.
//!
//! Guarantees: one state a field, in the order of the fields, with its name. Must not know: kinds of state, which `StateField` does.

use proc_macro2::TokenStream;
use quote::quote;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, GenericParam, Index, Lifetime, LitInt, LitStr, Result, Type,
    parse_quote,
};

/// Puts `'static` in place of every lifetime.
struct Static;

impl VisitMut for Static {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        *lifetime = parse_quote!('static);
    }
}

/// A duration such as `24h`, in milliseconds.
fn milliseconds(literal: &LitStr) -> Result<u64> {
    let text = literal.value();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = match text[digits..].trim() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let count = text[..digits].parse::<u64>().ok().filter(|&count| count > 0);
    let product = count.zip(unit).and_then(|(count, unit)| count.checked_mul(unit));
    product.ok_or_else(|| Error::new_spanned(literal, "a duration is a number and ms, s, m, h or d, as in \"24h\""))
}

/// Which of two words.
fn second_of(literal: &LitStr, first: &str, second: &str) -> Result<bool> {
    match literal.value() {
        value if value == first => Ok(false),
        value if value == second => Ok(true),
        _ => Err(Error::new_spanned(literal, format!("this is \"{first}\" or \"{second}\""))),
    }
}

/// The fields of `Options` behind the name.
fn options(attributes: &[Attribute]) -> Result<TokenStream> {
    let (mut time_to_live, mut version) = (None, quote!(None));
    let (mut on_read, mut expired, mut said) = (false, false, None);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("state")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("time_to_live") {
                time_to_live = Some(milliseconds(&meta.value()?.parse()?)?);
            } else if meta.path.is_ident("update") {
                on_read = second_of(&meta.value()?.parse()?, "on_write", "on_read_and_write")?;
                said = Some(meta.path);
            } else if meta.path.is_ident("visibility") {
                expired = second_of(&meta.value()?.parse()?, "never_return_expired", "return_expired")?;
                said = Some(meta.path);
            } else if meta.path.is_ident("version") {
                let number: LitInt = meta.value()?.parse()?;
                number.base10_parse::<u32>()?;
                version = quote!(Some(#number));
            } else {
                return Err(meta.error("only `time_to_live`, `update`, `visibility` and `version` can be said here"));
            }
            Ok(())
        })?;
    }
    let time_to_live = match (time_to_live, said) {
        (None, Some(path)) => return Err(Error::new_spanned(path, "this goes with a `time_to_live`")),
        (None, None) => quote!(None),
        (Some(milliseconds), _) => {
            let update = if on_read { quote!(OnReadAndWrite) } else { quote!(OnWrite) };
            quote!(Some(TimeToLive { milliseconds: #milliseconds, update: TimeToLiveUpdate::#update, return_expired: #expired }))
        }
    };
    Ok(quote!(time_to_live: #time_to_live, version: #version))
}

pub fn states(input: DeriveInput) -> Result<TokenStream> {
    let ident = &input.ident;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => return Err(Error::new_spanned(ident, "states have named fields: they are the states' names")),
        },
        _ => return Err(Error::new_spanned(ident, "states are a struct")),
    };
    let parameters: Vec<_> = input.generics.params.iter().collect();
    let [GenericParam::Lifetime(_)] = parameters[..] else {
        let advice = "states have one lifetime, that of the call: `struct States<'a> { count: ValueState<'a, i64> }`";
        return Err(Error::new_spanned(ident, advice));
    };
    let member: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let name = fields.iter().filter_map(|field| field.ident.as_ref()).map(|ident| {
        let name = ident.to_string();
        name.trim_start_matches("r#").to_owned()
    });
    let name: Vec<String> = name.collect();
    let option = fields.iter().map(|field| options(&field.attrs)).collect::<Result<Vec<_>>>()?;
    let ty: Vec<Type> = fields
        .iter()
        .map(|field| {
            let mut ty = field.ty.clone();
            Static.visit_type_mut(&mut ty);
            ty
        })
        .collect();
    let index: Vec<_> = (0..fields.len()).map(Index::from).collect();
    let number = 0..fields.len() as u32;
    Ok(quote! {
        const _: () = {
            use ::std::vec::IntoIter;
            use ::wasmill_sdk::bindings::types::{State, StateChange, StateValues, TimeToLive, TimeToLiveUpdate};
            use ::wasmill_sdk::state::{Options, Scope, StateField, States, field};
            #[automatically_derived]
            impl States for #ident<'_> {
                const SCOPES: &'static [Scope] = &[#(<#ty as StateField>::SCOPE),*];
                type At<'s> = #ident<'s>;
                type Slots = (#(<#ty as StateField>::Slots,)*);

                fn describe() -> Vec<State> {
                    vec![#(<#ty as StateField>::describe(Options { name: #name, #option })),*]
                }
                fn open(
                    mut values: Option<&mut IntoIter<StateValues>>,
                    first: u32,
                    keys: usize,
                ) -> Result<Self::Slots, String> {
                    Ok((#(
                        <#ty as StateField>::open(field::next(&mut values, #name)?, first + #number, keys)
                            .map_err(|error| format!("state `{}`: {error}", #name))?,
                    )*))
                }
                #[inline(always)]
                fn at(slots: &mut Self::Slots, key: usize) -> Self::At<'_> {
                    #ident { #(#member: <#ty as StateField>::at(&mut slots.#index, key),)* }
                }
                fn finish(slots: Self::Slots, changes: &mut Vec<StateChange>) -> Result<(), String> {
                    #(
                        <#ty as StateField>::finish(slots.#index, changes)
                            .map_err(|error| format!("state `{}`: {error}", #name))?;
                    )*
                    Ok(())
                }
            }
        };
    })
}
