//! `#[process_window]`.
//!
//! Guarantees: the input is what the elements are of. Must not know: how windows are looped over.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemImpl, Result};

use crate::method::{self, arguments_of, constructor, inherent, required};
use crate::parts::{self, Rules, Shared, first, returns_nothing};

const PROCESS: &str = "fn process(&mut self, elements: Elements<In>, context: &WindowContext, out: &mut Output<Out>)";
const RULES: Rules =
    Rules { context: "WindowContext", output: true, reads_broadcast: false, writes_broadcast: false, rejects: false };

pub fn process_window(block: ItemImpl) -> Result<TokenStream> {
    inherent(&block)?;
    let signature = required(&block, "process", PROCESS)?;
    let elements = first(signature, "the elements")?;
    let of = arguments_of(elements, "Elements").unwrap_or_default();
    let [input, ..] = of[..] else {
        return Err(Error::new_spanned(elements, format!("the elements of a window come together: `{PROCESS}`")));
    };
    let input = method::elided(input);
    let mut shared = Shared::default();
    let call = parts::method(signature, &[quote!(elements)], RULES, &mut shared)?.call(quote!(self));
    returns_nothing(signature)?;
    let (config, instance) = constructor(&block)?;
    let (operator, new) = (&block.self_ty, parts::new(&config, instance));
    let (output, sides, states) = (shared.output(), shared.sides(), shared.states());
    let (key, metrics) = (shared.key(), shared.metrics());
    Ok(quote! {
        #block
        const _: () = {
            use ::wasmill_sdk::bindings::types::{
                Batch, Description, Fault, KeyedResult, Keys, Moment, StateValues, Windows,
            };
            use ::wasmill_sdk::{operator::Identity, window};
            #[automatically_derived]
            impl window::ProcessWindow for #operator {
                fn describe(identity: Identity) -> Description {
                    window::describe::<#input, #output, #sides, #states, #key, #config, #metrics>(identity)
                }
                #new
                #[allow(unused_variables)]
                fn process(
                    &mut self,
                    moment: Moment,
                    windows: Windows,
                    keys: Keys,
                    elements: Batch,
                    groups: Vec<u32>,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    window::process::<#input, #output, #sides, #states, #key, #metrics>(
                        window::Call { moment, windows, keys, elements, groups, states },
                        |elements, states, context, out, metrics| #call,
                    )
                }
            }
        };
    })
}
