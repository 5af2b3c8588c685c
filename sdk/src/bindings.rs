//! The contract's types and functions, generated from the WIT.
//!
//! Guarantees: the types are generated once and shared by all kinds of operator; the exports of a kind end up in a component
//! only if the author's `export!` names that kind. Must not know: records, operators, anything of the author's.

/// The types of the contract and what a guest may ask of the host.
pub mod common {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package wasmill:sdk;
            world common {
                import wasmill:operator/types@0.1.0;
                import wasmill:operator/logging@0.1.0;
            }
        ",
        generate_unused_types: true,
        generate_all,
    });
}

pub use common::wasmill::operator::{logging, types};

/// The exports of a transform.
pub mod transform {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/transform-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
        },
        pub_export_macro: true,
    });
}

/// The exports of an aggregate.
pub mod aggregate {
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmill:operator/aggregate-operator",
        with: {
            "wasmill:operator/types@0.1.0": crate::bindings::types,
            "wasmill:operator/logging@0.1.0": crate::bindings::logging,
        },
        pub_export_macro: true,
    });
}

pub use aggregate::exports::wasmill::operator::aggregate as exports_of_aggregate;
pub use transform::exports::wasmill::operator::transform as exports_of_transform;
