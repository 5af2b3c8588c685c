//! Signatures of the author's functions and methods.
//!
//! Guarantees: errors point at the parameter or type that is wrong. Must not know: kinds of operator.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::visit_mut::VisitMut;
use syn::{
    Error, FnArg, GenericArgument, ImplItem, ImplItemFn, ItemImpl, Lifetime, PathArguments, Result, ReturnType,
    Signature, Type, TypePath, parse_quote, spanned::Spanned,
};

/// Refuses arguments of a macro that takes none.
pub fn no_arguments(arguments: TokenStream) -> Result<()> {
    if arguments.is_empty() { Ok(()) } else { Err(Error::new_spanned(arguments, "this macro takes no arguments")) }
}

/// The author's lifetimes mean nothing where the types are repeated.
struct Elide;

impl VisitMut for Elide {
    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            *lifetime = parse_quote!('_);
        }
    }
}

/// The type without the author's lifetimes.
pub fn elided(ty: &Type) -> Type {
    let mut ty = ty.clone();
    Elide.visit_type_mut(&mut ty);
    ty
}

/// The generic arguments of a path type that ends in `name`.
pub fn arguments_of<'a>(ty: &'a Type, name: &str) -> Option<Vec<&'a Type>> {
    let Type::Path(TypePath { path, .. }) = ty else { return None };
    let last = path.segments.last()?;
    if last.ident != name {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Some(Vec::new()) };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    Some(types.collect())
}

/// What a function returns, and whether in a `Result`.
pub struct Returned {
    /// The type, `()` if there is none.
    pub ty: Type,
    pub fallible: bool,
}

/// Takes a return type apart.
pub fn returned(signature: &Signature) -> Result<Returned> {
    let ReturnType::Type(_, ty) = &signature.output else {
        return Ok(Returned { ty: parse_quote!(()), fallible: false });
    };
    match arguments_of(ty, "Result") {
        None => Ok(Returned { ty: elided(ty), fallible: false }),
        Some(arguments) => match arguments.first() {
            Some(first) => Ok(Returned { ty: elided(first), fallible: true }),
            None => Err(Error::new_spanned(ty, "write out what the `Result` holds, as `Result<T, E>`")),
        },
    }
}

/// A call as a `Result<_, String>`, whatever the author's function returns.
pub fn outcome(call: TokenStream, fallible: bool) -> TokenStream {
    if fallible {
        quote!(#call.map_err(::wasmill_sdk::operator::reason))
    } else {
        quote!(::core::result::Result::<_, ::std::string::String>::Ok(#call))
    }
}

/// Refuses what no operator function can be.
pub fn plain(signature: &Signature) -> Result<()> {
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new_spanned(asyncness, "an operator's function cannot be `async`"));
    }
    let types = signature.generics.type_params().map(|parameter| parameter.span());
    let consts = signature.generics.const_params().map(|parameter| parameter.span());
    if let Some(span) = types.chain(consts).next() {
        return Err(Error::new(span, "an operator's function has no type parameters: its records are known types"));
    }
    Ok(())
}

/// The parameters behind a possible `self`.
pub fn parameters(signature: &Signature) -> Vec<&Type> {
    let typed = signature.inputs.iter().filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(&*argument.ty),
        FnArg::Receiver(_) => None,
    });
    typed.collect()
}

/// The method of an `impl` block with this name.
pub fn method<'a>(block: &'a ItemImpl, name: &str) -> Option<&'a ImplItemFn> {
    block.items.iter().find_map(|item| match item {
        ImplItem::Fn(method) if method.sig.ident == name => Some(method),
        _ => None,
    })
}

/// The method of this name, which has to be there.
pub fn required<'a>(block: &'a ItemImpl, name: &str, signature: &str) -> Result<&'a Signature> {
    let method = method(block, name)
        .ok_or_else(|| Error::new_spanned(&block.self_ty, format!("a method is missing: `{signature}`")))?;
    plain(&method.sig)?;
    Ok(&method.sig)
}

/// Refuses `impl` blocks that are of a trait or generic.
pub fn inherent(block: &ItemImpl) -> Result<()> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(path, "write the methods in an `impl` block without a trait"));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(&block.generics, "an operator has no parameters"));
    }
    Ok(())
}

/// A call of a method, on the instance `self` where it takes one. It is found as the author's even where the operator's trait has one
/// of the same name.
pub fn call(signature: &Signature, arguments: &[TokenStream]) -> TokenStream {
    call_on(quote!(self), signature, arguments)
}

/// The same on another instance.
pub fn call_on(instance: TokenStream, signature: &Signature, arguments: &[TokenStream]) -> TokenStream {
    let name = &signature.ident;
    let receiver = signature.receiver().map(|_| quote!(#instance,));
    quote!(Self::#name(#receiver #(#arguments),*))
}

/// The type of the configuration and the expression that makes an instance of it, as a `Result<Self, String>`.
pub fn constructor(block: &ItemImpl) -> Result<(Type, TokenStream)> {
    let Some(new) = method(block, "new") else {
        // Any struct with no fields can be written so; one with fields is an error at its name.
        let instance = quote_spanned!(block.self_ty.span()=> Self {});
        return Ok((parse_quote!(()), quote!(::core::result::Result::Ok(#instance))));
    };
    plain(&new.sig)?;
    let returned = returned(&new.sig)?;
    match parameters(&new.sig)[..] {
        [] if new.sig.receiver().is_none() => Ok((parse_quote!(()), outcome(quote!(Self::new()), returned.fallible))),
        [config] => Ok((config.clone(), outcome(quote!(Self::new(configuration)), returned.fallible))),
        _ => Err(Error::new_spanned(
            &new.sig,
            "`new` takes the configuration: `fn new(config: Config) -> Result<Self, E>`",
        )),
    }
}
