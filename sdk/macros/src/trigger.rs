//! `#[trigger]`.
//!
//! Guarantees: a trigger without a method for timers or merging goes on at these. Must not know: how elements are looped over.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemImpl, Result, Signature, parse_quote};

use crate::method::{self, arguments_of, constructor, inherent, required};
use crate::parts::{self, Rules, Shared, first};

const ON_ELEMENT: &str = "fn on_element(&mut self, element: In, context: &mut TriggerContext) -> Decision";
const ON_MERGE: &str =
    "fn on_merge(&mut self, states: &mut States, merged: &mut States, context: &mut TriggerContext) -> Decision";
const RULES: Rules =
    Rules { context: "TriggerContext", output: false, reads_broadcast: false, writes_broadcast: false, rejects: false };

fn decides(signature: &Signature) -> Result<()> {
    let returned = method::returned(signature)?;
    if arguments_of(&returned.ty, "Decision").is_some() {
        return Ok(());
    }
    Err(Error::new_spanned(signature, "a trigger decides: `-> Decision`"))
}

/// The call of the method with this name, whose leading parameters are these; to go on if there is none.
fn optional(block: &ItemImpl, name: &str, leading: &[TokenStream], shared: &mut Shared) -> Result<TokenStream> {
    let Some(method) = method::method(block, name) else {
        return Ok(quote!(trigger::Decision::Continue));
    };
    decides(&method.sig)?;
    if name == "on_merge" {
        // The states come twice, and only the second time they are something else.
        let parameters = method::parameters(&method.sig);
        if parameters.len() < 2 || method::elided(parameters[0]) != method::elided(parameters[1]) {
            return Err(Error::new_spanned(&method.sig, format!("this should be `{ON_MERGE}`")));
        }
        let states = parameters[0].clone();
        let same: Signature = parse_quote!(fn states(states: #states));
        parts::method(&same, &[], RULES, shared)?;
        if shared.states() == parse_quote!(()) {
            return Err(Error::new_spanned(&method.sig, format!("this should be `{ON_MERGE}`")));
        }
    } else {
        first(&method.sig, "the timer")?;
    }
    Ok(parts::method(&method.sig, leading, RULES, shared)?.call(quote!(self)))
}

pub fn trigger(block: ItemImpl) -> Result<TokenStream> {
    inherent(&block)?;
    let mut shared = Shared::default();
    let signature = required(&block, "on_element", ON_ELEMENT)?;
    decides(signature)?;
    let input = method::elided(first(signature, "the element")?);
    let on_element = parts::method(signature, &[quote!(element)], RULES, &mut shared)?.call(quote!(self));
    let on_timer = optional(&block, "on_timer", &[quote!(timer)], &mut shared)?;
    let on_merge = optional(&block, "on_merge", &[quote!(states), quote!(merged)], &mut shared)?;
    let (config, instance) = constructor(&block)?;
    let (operator, new) = (&block.self_ty, parts::new(&config, instance));
    let (states, metrics) = (shared.states(), shared.metrics());
    Ok(quote! {
        #block
        #[allow(unused_variables)]
        const _: () = {
            use ::wasmill_sdk::bindings::exports_of_trigger::Verdict;
            use ::wasmill_sdk::bindings::types::{Batch, Description, Fault, Timers};
            use ::wasmill_sdk::{operator::Identity, trigger};
            #[automatically_derived]
            impl trigger::Trigger for #operator {
                fn describe(identity: Identity) -> Description {
                    trigger::describe::<#input, #states, #config, #metrics>(identity)
                }
                #new
                fn on_elements(&mut self, call: trigger::Call<Batch>) -> Result<Verdict, Fault> {
                    trigger::on_elements::<#input, #states, #metrics>(
                        call,
                        |element, states, context, metrics| #on_element,
                    )
                }
                fn on_timers(&mut self, call: trigger::Call<Timers>) -> Result<Verdict, Fault> {
                    trigger::on_timers::<#states, #metrics>(call, |timer, states, context, metrics| #on_timer)
                }
                fn merge(&mut self, call: trigger::Call<()>) -> Result<Verdict, Fault> {
                    trigger::merge::<#states, #metrics>(call, |states, merged, context, metrics| #on_merge)
                }
            }
        };
    })
}
