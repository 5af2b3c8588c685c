//! `#[derive(Record)]`.
//!
//! Guarantees: one column a field, in the order of the fields. Must not know: the kinds of columns, which `Field` does.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Fields, GenericParam, Ident, Index, LitStr, Result, Type};

struct Column<'a> {
    member: &'a Ident,
    ty: &'a Type,
    name: String,
    index: Index,
}

/// The arguments of `#[record(...)]`, of which only the one called `allowed` may be there.
fn argument(attributes: &[Attribute], allowed: &str) -> Result<Option<LitStr>> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("record")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident(allowed) {
                return Err(meta.error(format!("only `{allowed} = \"...\"` can be said here")));
            }
            found = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(found)
}

fn camel_case(name: &str, first_upper: bool) -> String {
    let mut upper = first_upper;
    let mut result = String::new();
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                result.extend(letter.to_uppercase());
                upper = false;
            }
            _ => result.push(letter),
        }
    }
    result
}

fn renamed(name: &str, rule: Option<&LitStr>) -> Result<String> {
    let Some(rule) = rule else { return Ok(name.into()) };
    match rule.value().as_str() {
        "camelCase" => Ok(camel_case(name, false)),
        "PascalCase" => Ok(camel_case(name, true)),
        "kebab-case" => Ok(name.replace('_', "-")),
        "snake_case" => Ok(name.into()),
        "SCREAMING_SNAKE_CASE" => Ok(name.to_uppercase()),
        "lowercase" => Ok(name.replace('_', "").to_lowercase()),
        _ => Err(Error::new_spanned(
            rule,
            "one of camelCase, PascalCase, kebab-case, snake_case, SCREAMING_SNAKE_CASE, lowercase",
        )),
    }
}

fn columns(input: &DeriveInput) -> Result<Vec<Column<'_>>> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => return Err(Error::new_spanned(&input.ident, "a record has named fields: they are its columns")),
        },
        _ => return Err(Error::new_spanned(&input.ident, "a record is a struct")),
    };
    let rule = argument(&input.attrs, "rename_all")?;
    let mut columns: Vec<Column> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let Some(member) = &field.ident else { continue };
        let name = match argument(&field.attrs, "name")? {
            Some(name) => name.value(),
            None => renamed(member.to_string().trim_start_matches("r#"), rule.as_ref())?,
        };
        if columns.iter().any(|column| column.name == name) {
            return Err(Error::new_spanned(field, format!("there are two columns `{name}`")));
        }
        columns.push(Column { member, ty: &field.ty, name, index: Index::from(index) });
    }
    Ok(columns)
}

/// The same type with the lifetime `'r`, of a record or an enum of records.
pub fn at(input: &DeriveInput) -> Result<TokenStream> {
    let ident = &input.ident;
    let parameters: Vec<_> = input.generics.params.iter().collect();
    match parameters[..] {
        [] => Ok(quote!(#ident)),
        [GenericParam::Lifetime(_)] => Ok(quote!(#ident<'r>)),
        _ => Err(Error::new_spanned(&input.generics, "at most one lifetime can stand here, and nothing else")),
    }
}

pub fn expand(input: DeriveInput) -> Result<TokenStream> {
    let columns = columns(&input)?;
    let at = at(&input)?;
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let member: Vec<_> = columns.iter().map(|column| column.member).collect();
    let ty: Vec<_> = columns.iter().map(|column| column.ty).collect();
    let name: Vec<_> = columns.iter().map(|column| &column.name).collect();
    let index: Vec<_> = columns.iter().map(|column| &column.index).collect();
    let count = columns.len();
    let Some(first) = ty.first() else {
        return Err(Error::new_spanned(&input.ident, "a record with no columns is `()`"));
    };
    Ok(quote! {
        const _: () = {
            use ::wasmill_sdk::bindings::types::Column;
            use ::wasmill_sdk::column::Field;
            use ::wasmill_sdk::record::{FieldInfo, Record};
            #[automatically_derived]
            #[allow(unused_variables, clippy::unused_unit)]
            impl #generics Record for #ident #arguments #bounds {
                const FIELDS: &'static [FieldInfo] = &[
                    #(FieldInfo { name: #name, kind: <#ty as Field>::KIND, nullable: <#ty as Field>::NULLABLE },)*
                ];
                type At<'r> = #at;
                type Reader<'r> = (#(<#ty as Field>::Reader<'r>,)*);
                type Builder = (#(<#ty as Field>::Builder,)*);

                fn reader(columns: &[Column], rows: usize) -> Result<Self::Reader<'_>, String> {
                    if columns.len() != #count {
                        return Err(format!("{} columns came, {} were declared", columns.len(), #count));
                    }
                    Ok((#(
                        <#ty as Field>::reader(&columns[#index], rows)
                            .map_err(|error| format!("column `{}`: {error}", #name))?,
                    )*))
                }
                #[inline(always)]
                fn read<'r>(reader: &Self::Reader<'r>, row: usize) -> Self::At<'r> {
                    #ident { #(#member: <#ty as Field>::read(&reader.#index, row),)* }
                }
                fn builder(rows: usize) -> Self::Builder {
                    (#(<#ty as Field>::builder(rows),)*)
                }
                #[inline(always)]
                fn push(builder: &mut Self::Builder, record: Self::At<'_>) {
                    #(<#ty as Field>::push(&mut builder.#index, record.#member);)*
                }
                #[inline(always)]
                fn rows(builder: &Self::Builder) -> usize {
                    <#first as Field>::rows(&builder.0)
                }
                fn truncate(builder: &mut Self::Builder, rows: usize) {
                    #(<#ty as Field>::truncate(&mut builder.#index, rows);)*
                }
                fn finish(builder: Self::Builder) -> Vec<Column> {
                    vec![#(<#ty as Field>::finish(builder.#index),)*]
                }
            }
        };
    })
}
