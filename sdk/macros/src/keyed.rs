//! `#[keyed_process]` and `#[connected_process]`.
//!
//! Guarantees: both have the same methods, the latter with two inputs. Must not know: how a batch is looped over.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, Ident, ItemImpl, Result, Signature, Type};

use crate::method::{self, constructor, inherent, required};
use crate::parts::{self, Method, Rules, Shared, first, returns_nothing};

const PROCESS: &str =
    "fn process(&mut self, record: In, states: &mut States, context: &mut KeyedContext, out: &mut Output<Out>)";
const PREFETCH: &str = "fn prefetch(&self, record: In, states: &mut States)";

pub const RULES: Rules =
    Rules { context: "KeyedContext", output: true, reads_broadcast: false, writes_broadcast: false, rejects: true };

/// An input: what it reads, and the methods that process it.
pub struct Input<'a> {
    pub ty: Type,
    pub process: Method<'a>,
    prefetch: Option<Method<'a>>,
}

/// The input whose methods have these names.
pub fn input<'a>(block: &'a ItemImpl, names: (&str, &str), rules: Rules, shared: &mut Shared) -> Result<Input<'a>> {
    let (process, prefetch) = names;
    let signature = required(block, process, &PROCESS.replace("process", process))?;
    let ty = method::elided(first(signature, "the record")?);
    let process = parts::method(signature, &[quote!(record)], rules, shared)?;
    returns_nothing(signature)?;
    let prefetch = match method::method(block, prefetch) {
        None => None,
        Some(method) => Some(prefetching(&method.sig, rules, shared)?),
    };
    Ok(Input { ty, process, prefetch })
}

fn prefetching<'a>(signature: &'a Signature, rules: Rules, shared: &mut Shared) -> Result<Method<'a>> {
    first(signature, "the record")?;
    for parameter in method::parameters(signature) {
        if let Type::Reference(reference) = parameter
            && ["Output", rules.context].iter().any(|name| method::arguments_of(&reference.elem, name).is_some())
        {
            return Err(Error::new_spanned(parameter, format!("prefetching only announces reads: `{PREFETCH}`")));
        }
    }
    returns_nothing(signature)?;
    parts::method(signature, &[quote!(record)], Rules { rejects: false, ..rules }, shared)
}

/// The method for timers, if there is one.
pub fn on_timer<'a>(block: &'a ItemImpl, rules: Rules, shared: &mut Shared) -> Result<Option<Method<'a>>> {
    let Some(method) = method::method(block, "on_timer") else { return Ok(None) };
    if !matches!(first(&method.sig, "the timer")?, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Timer"))
    {
        return Err(Error::new_spanned(&method.sig, "the first parameter is the timer: `timer: Timer`"));
    }
    returns_nothing(&method.sig)?;
    parts::method(&method.sig, &[quote!(timer)], Rules { rejects: false, ..rules }, shared).map(Some)
}

/// The trait's method that processes an input.
pub fn process(name: &str, input: &Input, shared: &Shared, around: impl Fn(TokenStream) -> TokenStream) -> TokenStream {
    let name: Ident = format_ident!("{name}");
    let Input { ty, process, prefetch } = input;
    let (output, sides, states) = (shared.output(), shared.sides(), shared.states());
    let (key, metrics) = (shared.key(), shared.metrics());
    let outcome = process.outcome(quote!(this));
    let (prefetches, prefetch) = match prefetch {
        None => (false, quote!(|_, _, _| {})),
        Some(method) => {
            let call = method.call(quote!(this));
            (true, quote!(|this, record, states| #call))
        }
    };
    let body = around(quote! {
        keyed::process::<Self, #ty, #output, #sides, #states, #key, #metrics, #prefetches>(
            self,
            keyed::Call { moment, of: batch, keys, states },
            #prefetch,
            #[inline(always)]
            |this, record, states, context, out, metrics| #outcome,
        )
    });
    quote! {
        #[allow(unused_variables)]
        fn #name(
            &mut self,
            moment: Moment,
            batch: Batch,
            keys: Keys,
            states: Vec<StateValues>,
        ) -> Result<KeyedResult, Fault> {
            #body
        }
    }
}

/// The trait's method that fires timers.
pub fn fire(on_timer: Option<&Method>, shared: &Shared, around: impl Fn(TokenStream) -> TokenStream) -> TokenStream {
    let (output, sides, states) = (shared.output(), shared.sides(), shared.states());
    let (key, metrics) = (shared.key(), shared.metrics());
    let body = match on_timer {
        None => quote!(Ok(keyed::nothing::<#output>())),
        Some(method) => {
            let call = method.call(quote!(this));
            around(quote! {
                keyed::fire::<Self, #output, #sides, #states, #key, #metrics>(
                    self,
                    keyed::Call { moment, of: timers, keys, states },
                    |this, timer, states, context, out, metrics| #call,
                )
            })
        }
    };
    quote! {
        #[allow(unused_variables)]
        fn fire(
            &mut self,
            moment: Moment,
            timers: Timers,
            keys: Keys,
            states: Vec<StateValues>,
        ) -> Result<KeyedResult, Fault> {
            #body
        }
    }
}

/// The expression that describes an operator whose first input is this.
pub fn describe(ty: &Type, config: &Type, shared: &Shared) -> TokenStream {
    let (output, sides, states) = (shared.output(), shared.sides(), shared.states());
    let (key, metrics) = (shared.key(), shared.metrics());
    quote!(keyed::describe::<#ty, #output, #sides, #states, #key, #config, #metrics>(identity))
}

pub fn imports() -> TokenStream {
    quote! {
        use ::wasmill_sdk::bindings::types::{
            Batch, Description, Fault, KeyedResult, Keys, Moment, StateValues, Timers,
        };
        use ::wasmill_sdk::{keyed, operator::Identity};
    }
}

pub fn keyed_process(block: ItemImpl) -> Result<TokenStream> {
    inherent(&block)?;
    let mut shared = Shared::default();
    let input = input(&block, ("process", "prefetch"), RULES, &mut shared)?;
    let on_timer = on_timer(&block, RULES, &mut shared)?;
    let (config, instance) = constructor(&block)?;
    let (operator, new, imports) = (&block.self_ty, parts::new(&config, instance), imports());
    let describe = describe(&input.ty, &config, &shared);
    let process = process("process", &input, &shared, |call| call);
    let fire = fire(on_timer.as_ref(), &shared, |call| call);
    Ok(quote! {
        #block
        const _: () = {
            #imports
            #[automatically_derived]
            impl keyed::KeyedProcess for #operator {
                fn describe(identity: Identity) -> Description { #describe }
                #new
                #process
                #fire
            }
        };
    })
}

pub fn connected_process(block: ItemImpl) -> Result<TokenStream> {
    inherent(&block)?;
    let mut shared = Shared::default();
    let one = input(&block, ("process_first", "prefetch_first"), RULES, &mut shared)?;
    let two = input(&block, ("process_second", "prefetch_second"), RULES, &mut shared)?;
    let on_timer = on_timer(&block, RULES, &mut shared)?;
    let (config, instance) = constructor(&block)?;
    let (operator, new, imports) = (&block.self_ty, parts::new(&config, instance), imports());
    let (describe, second) = (describe(&one.ty, &config, &shared), &two.ty);
    let first = process("process_first", &one, &shared, |call| call);
    let process_second = process("process_second", &two, &shared, |call| call);
    let fire = fire(on_timer.as_ref(), &shared, |call| call);
    Ok(quote! {
        #block
        const _: () = {
            #imports
            #[automatically_derived]
            impl keyed::ConnectedProcess for #operator {
                fn describe(identity: Identity) -> Description { keyed::with_second::<#second>(#describe) }
                #new
                #first
                #process_second
                #fire
            }
        };
    })
}
