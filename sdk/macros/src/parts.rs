//! The methods of operators with state: what their parameters and return types say.
//!
//! Guarantees: what a parameter is follows from its type alone, but for states and metrics, both of the author's types, which come in
//! this order. Must not know: kinds of operator.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Result, Signature, Type, TypeReference, parse_quote};

use crate::method;

/// Types that the methods of an operator share: what one leaves out, another may name.
#[derive(Default)]
pub struct Shared {
    output: Option<Type>,
    sides: Option<Type>,
    states: Option<Type>,
    broadcast: Option<Type>,
    key: Option<Type>,
    metrics: Option<Type>,
}

macro_rules! shared {
    ($($name:ident),*) => {
        $(pub fn $name(&self) -> Type {
            self.$name.clone().unwrap_or_else(|| parse_quote!(()))
        })*
    };
}

impl Shared {
    shared!(output, sides, states, broadcast, key, metrics);
}

/// What a kind's methods may take.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The name of the context's type.
    pub context: &'static str,
    pub output: bool,
    /// Whether `&T` of the author's are broadcast states.
    pub reads_broadcast: bool,
    /// Whether the first `&mut T` of the author's are the broadcast states.
    pub writes_broadcast: bool,
    /// Whether a record can be rejected.
    pub rejects: bool,
}

/// A method, and what to call it with.
pub struct Method<'a> {
    pub signature: &'a Signature,
    arguments: Vec<TokenStream>,
    fallible: bool,
}

impl Method<'_> {
    /// The call on `instance`.
    pub fn call(&self, instance: TokenStream) -> TokenStream {
        method::call_on(instance, self.signature, &self.arguments)
    }

    /// The call as a `Result<(), String>`.
    pub fn outcome(&self, instance: TokenStream) -> TokenStream {
        method::outcome(self.call(instance), self.fallible)
    }
}

/// The type of the first parameter, which is not a reference.
pub fn first<'a>(signature: &'a Signature, what: &str) -> Result<&'a Type> {
    match method::parameters(signature).first() {
        Some(reference @ Type::Reference(_)) => {
            Err(Error::new_spanned(reference, format!("the first parameter is {what} itself, not a reference to it")))
        }
        Some(first) => Ok(first),
        None => Err(Error::new_spanned(signature, format!("the first parameter is {what}"))),
    }
}

/// Takes the parameters behind the first `leading.len()` ones, which are passed as these.
pub fn method<'a>(
    signature: &'a Signature,
    leading: &[TokenStream],
    rules: Rules,
    shared: &mut Shared,
) -> Result<Method<'a>> {
    method::plain(signature)?;
    let mut arguments = leading.to_vec();
    let mut own = 0;
    for parameter in method::parameters(signature).into_iter().skip(leading.len()) {
        arguments.push(further(parameter, rules, shared, &mut own)?);
    }
    let returned = method::returned(signature)?;
    if returned.fallible && !rules.rejects {
        return Err(Error::new_spanned(&signature.output, "there is no record to reject here, so it cannot fail"));
    }
    Ok(Method { signature, arguments, fallible: returned.fallible })
}

/// Refuses a method that returns something.
pub fn returns_nothing(signature: &Signature) -> Result<()> {
    let returned = method::returned(signature)?;
    if returned.ty == parse_quote!(()) {
        return Ok(());
    }
    Err(Error::new_spanned(&signature.output, "it emits to its output, and returns nothing or `Result<(), E>`"))
}

fn name(slot: &mut Option<Type>, ty: &Type) {
    slot.get_or_insert_with(|| method::elided(ty));
}

/// Takes a parameter; `own` counts those that are `&mut` of the author's types.
fn further(parameter: &Type, rules: Rules, shared: &mut Shared, own: &mut usize) -> Result<TokenStream> {
    let Type::Reference(TypeReference { mutability, elem, .. }) = parameter else {
        let advice = format!(
            "these parameters are references: {}`&mut {}`, your `&mut States`, your `&mut Metrics`",
            if rules.output { "`&mut Output<T>`, " } else { "" },
            rules.context
        );
        return Err(Error::new_spanned(parameter, advice));
    };
    if let Some(arguments) = method::arguments_of(elem, "Output") {
        return output(parameter, mutability.is_some(), &arguments, rules, shared);
    }
    if let Some(arguments) = method::arguments_of(elem, rules.context) {
        if let [key, ..] = arguments[..] {
            name(&mut shared.key, key);
        }
        return Ok(quote!(context));
    }
    for context in ["Context", "KeyedContext", "WindowContext", "TriggerContext"] {
        if method::arguments_of(elem, context).is_some() {
            return Err(Error::new_spanned(elem, format!("the context of this method is `{}`", rules.context)));
        }
    }
    if mutability.is_none() {
        if !rules.reads_broadcast {
            return Err(Error::new_spanned(
                parameter,
                "states and metrics are changed: `&mut`. The configuration is given to `new`: keep what you need of it in a field",
            ));
        }
        name(&mut shared.broadcast, elem);
        return Ok(quote!(broadcast));
    }
    *own += 1;
    match (*own, rules.writes_broadcast) {
        (1, true) => name(&mut shared.broadcast, elem),
        (1, false) => name(&mut shared.states, elem),
        (2, _) => {
            name(&mut shared.metrics, elem);
            return Ok(quote!(metrics));
        }
        _ => return Err(Error::new_spanned(parameter, "there are states and metrics already")),
    }
    Ok(quote!(states))
}

fn output(parameter: &Type, mutable: bool, of: &[&Type], rules: Rules, shared: &mut Shared) -> Result<TokenStream> {
    if !rules.output {
        return Err(Error::new_spanned(parameter, "nothing is emitted here"));
    }
    let [output, sides @ ..] = of else {
        return Err(Error::new_spanned(parameter, "say what is emitted: `&mut Output<T>`"));
    };
    if !mutable {
        return Err(Error::new_spanned(parameter, "the output is changed by emitting: `&mut Output<T>`"));
    }
    name(&mut shared.output, output);
    if let Some(sides) = sides.first() {
        name(&mut shared.sides, sides);
    }
    Ok(quote!(out))
}

/// The types that every operator's description needs, and its `new`.
pub fn new(config: &Type, instance: TokenStream) -> TokenStream {
    quote! {
        fn new(configuration: &str) -> Result<Self, String> {
            let configuration: #config = ::wasmill_sdk::config::parse(configuration)?;
            #instance
        }
    }
}
