//! `#[broadcast_process]`.
//!
//! Guarantees: the main input's methods get the broadcast states as `&`, only that of the broadcast input as `&mut`. Must not know:
//! how a batch is looped over.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemImpl, Result};

use crate::keyed::{RULES, describe, fire, imports, input, on_timer, process};
use crate::method::{self, constructor, inherent, required};
use crate::parts::{self, Rules, Shared, first, returns_nothing};

const PROCESS: &str = "fn process_broadcast(&mut self, record: In, broadcast: &mut Broadcast)";

pub fn broadcast_process(block: ItemImpl) -> Result<TokenStream> {
    inherent(&block)?;
    let mut shared = Shared::default();
    let reading = Rules { reads_broadcast: true, ..RULES };
    let main = input(&block, ("process", "prefetch"), reading, &mut shared)?;
    let on_timer = on_timer(&block, reading, &mut shared)?;
    let signature = required(&block, "process_broadcast", PROCESS)?;
    let second = method::elided(first(signature, "the record")?);
    let writing = Rules { context: "Context", writes_broadcast: true, ..RULES };
    let outcome = parts::method(signature, &[quote!(record)], writing, &mut shared)?.outcome(quote!(self));
    returns_nothing(signature)?;
    let (config, instance) = constructor(&block)?;
    let (operator, new, imports) = (&block.self_ty, parts::new(&config, instance), imports());
    let describe = describe(&main.ty, &config, &shared);
    let (output, sides, metrics) = (shared.output(), shared.sides(), shared.metrics());
    let (states, broadcast) = (shared.states(), shared.broadcast());
    let around = |call| quote!(broadcast::reading::<#states, #broadcast, _>(|broadcast| #call));
    let process = process("process", &main, &shared, around);
    let fire = fire(on_timer.as_ref(), &shared, around);
    Ok(quote! {
        #block
        const _: () = {
            use ::wasmill_sdk::bindings::exports_of_broadcast_process::BroadcastResult;
            use ::wasmill_sdk::broadcast;
            #imports
            #[automatically_derived]
            impl broadcast::BroadcastProcess for #operator {
                fn describe(identity: Identity) -> Description {
                    broadcast::with_states::<#broadcast>(keyed::with_second::<#second>(#describe))
                }
                #new
                #process
                #[allow(unused_variables)]
                fn process_broadcast(&mut self, moment: Moment, batch: Batch) -> Result<BroadcastResult, Fault> {
                    broadcast::process_broadcast::<#second, #output, #sides, #states, #broadcast, #metrics>(
                        moment,
                        batch,
                        |record, states, context, out, metrics| #outcome,
                    )
                }
                #fire
            }
        };
    })
}
