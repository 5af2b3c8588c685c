//! The exports of a component.
//!
//! Guarantees: natively nothing is exported, but the types are still checked. Must not know: operators.

/// Exports the operators of a plugin, one of a kind: `export!(transform: words, aggregate: WordCount)`.
///
/// The plugin's name and version are those in the author's `Cargo.toml`.
#[macro_export]
macro_rules! export {
    ($($kind:ident : $operator:ty),+ $(,)?) => { $( $crate::__export!($kind, $operator); )+ };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (transform, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Emission, Fault, Moment, Placement};
            use $crate::transform::Transform;
            $crate::__instance!($operator, Transform);
            impl $crate::bindings::exports_of_transform::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn process(moment: Moment, batch: Batch) -> Result<Emission, Fault> {
                    with(|operator| operator.process(moment, batch))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::transform::export!(Component with_types_in $crate::bindings::transform);
        };
    };
    (aggregate, $operator:ty) => {
        const _: () = {
            use $crate::aggregate::Aggregate;
            use $crate::bindings::exports_of_aggregate::{Accumulated, Accumulators};
            use $crate::bindings::types::{Batch, Column, Description, Fault, Moment, Placement};
            $crate::__instance!($operator, Aggregate);
            impl $crate::bindings::exports_of_aggregate::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn accumulate(
                    moment: Moment,
                    batch: Batch,
                    groups: Vec<u32>,
                    accumulators: Accumulators,
                ) -> Result<Accumulated, Fault> {
                    with(|operator| operator.accumulate(moment, batch, groups, accumulators.values))
                }
                fn merge(accumulators: Accumulators, others: Accumulators, groups: Vec<u32>) -> Result<Column, Fault> {
                    with(|operator| operator.merge(accumulators.values, others.values, groups))
                }
                fn results(accumulators: Accumulators) -> Result<Vec<Column>, Fault> {
                    with(|operator| operator.results(accumulators.values))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::aggregate::export!(Component with_types_in $crate::bindings::aggregate);
        };
    };
    ($kind:ident, $operator:ty) => {
        compile_error!(concat!(
            "`",
            stringify!($kind),
            "` is no kind of operator; there are `transform` and `aggregate`"
        ));
    };
}

/// The one instance in a component, and what all kinds do with it.
#[doc(hidden)]
#[macro_export]
macro_rules! __instance {
    ($operator:ty, $trait:ident) => {
        #[allow(dead_code)]
        struct Component;

        thread_local! {
            static INSTANCE: std::cell::RefCell<Option<$operator>> = const { std::cell::RefCell::new(None) };
        }

        #[allow(dead_code)]
        fn describe() -> Description {
            $crate::log::catch_panics();
            <$operator as $trait>::describe($crate::operator::Identity {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            })
        }

        #[allow(dead_code)]
        fn configure(configuration: &str) -> Result<(), String> {
            $crate::log::catch_panics();
            let operator = <$operator as $trait>::new(configuration)?;
            INSTANCE.set(Some(operator));
            Ok(())
        }

        #[allow(dead_code)]
        fn with<R>(call: impl FnOnce(&mut $operator) -> Result<R, Fault>) -> Result<R, Fault> {
            INSTANCE.with_borrow_mut(|operator| match operator {
                Some(operator) => call(operator),
                None => Err(Fault::Fail("the operator was called before it was configured".into())),
            })
        }
    };
}
