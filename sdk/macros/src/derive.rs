//! `#[derive(SideOutputs)]` and `#[derive(Metrics)]`.
//!
//! Guarantees: declared in the order of the variants and fields. Must not know: how rows and readings are kept.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, Ident, Index, Result};

use crate::record::at;

fn kebab_case(ident: &Ident) -> String {
    let mut name = String::new();
    for letter in ident.to_string().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

pub fn side_outputs(input: DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "side outputs are an enum, with a variant for each"));
    };
    let (mut names, mut types, mut patterns, mut values, mut indices) = (vec![], vec![], vec![], vec![], vec![]);
    for (index, variant) in data.variants.iter().enumerate() {
        let ident = &variant.ident;
        names.push(kebab_case(ident));
        indices.push(Index::from(index));
        let (ty, pattern, value) = match &variant.fields {
            Fields::Unit => {
                let row = quote!(::wasmill_sdk::record::InputRow);
                (row.clone(), quote!(#ident), row)
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let (ty, record) = (&fields.unnamed[0].ty, format_ident!("record"));
                (quote!(#ty), quote!(#ident(#record)), quote!(#record))
            }
            fields => {
                return Err(Error::new_spanned(fields, "a side output holds one record, or nothing for the input row"));
            }
        };
        types.push(ty);
        patterns.push(pattern);
        values.push(value);
    }
    let (at, ident) = (at(&input)?, &input.ident);
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        const _: () = {
            use ::wasmill_sdk::bindings::types::{SideOutput, SideRows};
            use ::wasmill_sdk::output::{Rows, SideOutputs, finish_side, push_side, side_output};
            #[automatically_derived]
            impl #generics SideOutputs for #ident #arguments #bounds {
                type At<'r> = #at;
                type Builders = (#(Rows<#types>,)*);

                fn describe() -> Vec<SideOutput> {
                    vec![#(side_output::<#types>(#names)),*]
                }
                fn builders() -> Self::Builders {
                    (#(Rows::<#types>::new(0),)*)
                }
                fn push(builders: &mut Self::Builders, timestamp_ms: Option<i64>, record: Self::At<'_>) {
                    match record {
                        #(#ident::#patterns => push_side::<#types>(&mut builders.#indices, timestamp_ms, #values),)*
                    }
                }
                fn end(builders: &mut Self::Builders, origin: u32) {
                    #(builders.#indices.end(origin);)*
                }
                fn take_back(builders: &mut Self::Builders) {
                    #(builders.#indices.take_back();)*
                }
                fn finish(builders: Self::Builders, inherited: &[i64]) -> Vec<SideRows> {
                    let mut result = Vec::new();
                    #(finish_side(#indices, builders.#indices, inherited, &mut result);)*
                    result
                }
            }
        };
    })
}

pub fn metrics(input: DeriveInput) -> Result<TokenStream> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => {
                return Err(Error::new_spanned(&input.ident, "metrics have named fields: they are the metrics' names"));
            }
        },
        _ => return Err(Error::new_spanned(&input.ident, "metrics are a struct")),
    };
    let member: Vec<_> = fields.iter().map(|field| &field.ident).collect();
    let ty: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let name = fields.iter().filter_map(|field| field.ident.as_ref()).map(|ident| ident.to_string());
    let index = 0..fields.len() as u32;
    let ident = &input.ident;
    Ok(quote! {
        const _: () = {
            use ::wasmill_sdk::bindings::types::{Measurement, Metric};
            #[automatically_derived]
            impl ::wasmill_sdk::metrics::Metrics for #ident {
                fn describe() -> Vec<Metric> {
                    vec![#(Metric {
                        name: #name.into(),
                        kind: <#ty as ::wasmill_sdk::metrics::Metric>::KIND,
                    }),*]
                }
                fn start() -> Self {
                    Self { #(#member: ::core::default::Default::default(),)* }
                }
                fn finish(self) -> Vec<Measurement> {
                    let mut readings = Vec::new();
                    #(::wasmill_sdk::metrics::Metric::report(self.#member, #index, &mut readings);)*
                    readings
                }
            }
        };
    })
}
