//! `#[sink]`.
//!
//! Guarantees: a sink without a method for the end writes nothing then. Must not know: how a batch is looped over.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemImpl, Result};

use crate::method::{self, constructor, inherent, required};
use crate::parts::{self, Rules, Shared, first, returns_nothing};

const WRITE: &str = "fn write(&mut self, record: In, states: &mut States, out: &mut Output<Out>)";
const RULES: Rules =
    Rules { context: "Context", output: true, reads_broadcast: false, writes_broadcast: false, rejects: true };

pub fn sink(block: ItemImpl) -> Result<TokenStream> {
    inherent(&block)?;
    let mut shared = Shared::default();
    let signature = required(&block, "write", WRITE)?;
    let input = method::elided(first(signature, "the record")?);
    let outcome = parts::method(signature, &[quote!(record)], RULES, &mut shared)?.outcome(quote!(self));
    returns_nothing(signature)?;
    let last = match method::method(&block, "finish") {
        None => quote!({}),
        Some(method) => {
            returns_nothing(&method.sig)?;
            let rules = Rules { rejects: false, ..RULES };
            parts::method(&method.sig, &[], rules, &mut shared)?.call(quote!(self))
        }
    };
    let (config, instance) = constructor(&block)?;
    let (operator, new) = (&block.self_ty, parts::new(&config, instance));
    let (output, sides) = (shared.output(), shared.sides());
    let (states, metrics) = (shared.states(), shared.metrics());
    Ok(quote! {
        #block
        #[allow(unused_variables)]
        const _: () = {
            use ::wasmill_sdk::bindings::exports_of_sink::Written;
            use ::wasmill_sdk::bindings::types::{Batch, Description, Fault, Moment, StateValues};
            use ::wasmill_sdk::{operator::Identity, sink};
            #[automatically_derived]
            impl sink::Sink for #operator {
                fn describe(identity: Identity) -> Description {
                    sink::describe::<#input, #output, #sides, #states, #config, #metrics>(identity)
                }
                #new
                fn write(&mut self, moment: Moment, batch: Batch, states: Vec<StateValues>) -> Result<Written, Fault> {
                    sink::write::<#input, #output, #sides, #states, #metrics>(
                        moment,
                        batch,
                        states,
                        |record, states, context, out, metrics| #outcome,
                    )
                }
                fn finish(&mut self, moment: Moment, states: Vec<StateValues>) -> Result<Written, Fault> {
                    sink::finish::<#output, #sides, #states, #metrics>(
                        moment,
                        states,
                        |states, context, out, metrics| #last,
                    )
                }
            }
        };
    })
}
