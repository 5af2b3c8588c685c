//! `#[state(...)]` and `#[config]`.
//!
//! Guarantees: the author needs no other crate than the SDK for them. Must not know: operators.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{DeriveInput, Error, Ident, LitInt, Result, Token};

use crate::method::no_arguments;

/// `postcard`, `json, version = 2`.
pub struct StateArguments {
    codec: Ident,
    version: LitInt,
}

impl Parse for StateArguments {
    fn parse(input: ParseStream) -> Result<Self> {
        let missing = |error: Error| Error::new(error.span(), "say how it travels: `postcard` or `json`");
        let codec: Ident = input.parse().map_err(missing)?;
        if codec != "postcard" && codec != "json" {
            return Err(Error::new_spanned(&codec, "the codecs are `postcard` and `json`"));
        }
        let mut version = LitInt::new("1", codec.span());
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
            let key: Ident = input.parse()?;
            if key != "version" {
                return Err(Error::new_spanned(&key, "only `version = 2` can be said here"));
            }
            input.parse::<Token![=]>()?;
            version = input.parse()?;
            version.base10_parse::<u32>()?;
        }
        Ok(Self { codec, version })
    }
}

pub fn state(StateArguments { codec, version }: StateArguments, item: DeriveInput) -> Result<TokenStream> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "state owns its values: it has no parameters"));
    }
    let ident = &item.ident;
    Ok(quote! {
        #[derive(::wasmill_sdk::serde::Serialize, ::wasmill_sdk::serde::Deserialize)]
        #[serde(crate = "::wasmill_sdk::serde")]
        #item
        const _: () = {
            use ::wasmill_sdk::bindings::types::{Column, Kind};
            use ::wasmill_sdk::state::{State, codec, read_bytes, write_bytes};
            #[automatically_derived]
            impl State for #ident {
                const KIND: Kind = Kind::Binary;
                const VERSION: u32 = #version;

                fn read(column: Column, take: impl FnMut(Option<Self>)) -> Result<(), String> {
                    read_bytes(column, take, codec::#codec::decode)
                }
                fn write<'v>(values: impl Iterator<Item = Option<&'v Self>>) -> Result<Column, String> {
                    write_bytes(values, codec::#codec::encode)
                }
            }
        };
    })
}

pub fn config(arguments: TokenStream, item: DeriveInput) -> Result<TokenStream> {
    no_arguments(arguments)?;
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "a configuration owns its values: it has no parameters"));
    }
    Ok(quote! {
        #[derive(::wasmill_sdk::serde::Deserialize, ::wasmill_sdk::schemars::JsonSchema)]
        #[serde(crate = "::wasmill_sdk::serde", deny_unknown_fields)]
        #[schemars(crate = "::wasmill_sdk::schemars")]
        #item
    })
}
